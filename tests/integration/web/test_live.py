"""Live notices over real sockets and a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import simple_websocket
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import update

from broker.database import now
from broker.identity.models import SignIn
from broker.pools import service as pools
from broker.runtime import Runtime, open_runtime
from broker.settings import RedisSettings, WebSettings
from tests.conftest import NewPerson
from tests.integration.web.conftest import AppWith, NewMachines, SignedIn
from tests.integration.web.served import LivePage, serve
from tests.servers import private_redis
from tests.waiting import until
from web import live

LIGHT = {"environment": "light"}
HEADER = {"X-Requested-With": "test"}


@pytest.fixture
def address(app: APIFlask) -> Iterator[str]:
    """The application on a port."""
    with serve(app) as found:
        yield found


OpenPage = Callable[[FlaskClient], LivePage]


@pytest.fixture
def open_page(address: str) -> Iterator[OpenPage]:
    """Opens a page in this person's browser."""
    opened = []

    def page(browser: FlaskClient) -> LivePage:
        opened.append(LivePage(address, token(browser)))
        return opened[-1]

    yield page
    for socket in opened:
        socket.close()


def token(browser: FlaskClient) -> str:
    """What this browser is signed in with."""
    cookie = browser.get_cookie("beamdesk")
    assert cookie is not None
    return cookie.value


def refusal(address: str, sign_in: str = "", **options: str) -> int:
    """The status with which a socket is refused."""
    with pytest.raises(simple_websocket.ConnectionError) as refused:
        LivePage(address, sign_in, join=False, **options)  # type: ignore[arg-type]
    return int(refused.value.status_code)


def test_changes_are_heard_by_their_owner_and_by_administrators_only(
    signed_in: SignedIn, admin: FlaskClient, new_machines: NewMachines, open_page: OpenPage
) -> None:
    """A notice carries an id only, and not even that to others."""
    alice, bob = signed_in("alice"), signed_in("bob")
    new_machines("light-ral")
    pages = {name: open_page(browser) for name, browser in (("alice", alice), ("bob", bob), ("ada", admin))}
    id_ = alice.post("/api/v1/sessions", json=LIGHT).json["id"]
    heard = {name: set(page.notices()) for name, page in pages.items()}
    assert ("session", id_) in heard["alice"]
    assert heard["bob"] == {("availability", 0)}
    assert {kind for kind, _ in heard["ada"]} >= {"session", "machine", "pool"}
    assert all(kind in ("session", "availability") for kind, _ in heard["alice"])


def test_another_process_is_heard_too(
    admin: FlaskClient, runtime: Runtime, person: object, open_page: OpenPage, new_person: Callable[..., object]
) -> None:
    """A worker's or the manager's transaction tells pages through Redis."""
    page = open_page(admin)
    other = open_runtime(runtime.settings)
    pools.drain(other, new_person("root", admin=True), "light-ral")  # type: ignore[arg-type]
    other.database.close()
    assert ("pool", "light-ral") in page.notices()


def test_what_is_rolled_back_is_never_told(alice: FlaskClient, open_page: OpenPage) -> None:
    """A refused launch changes nothing, so nothing is said."""
    page = open_page(alice)
    assert alice.post("/api/v1/sessions", json={**LIGHT, "cores": 100}).status_code == 422
    assert page.notices(0.5) == []


def test_the_pulse_says_that_notices_would_be_heard(
    app_with: AppWith, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes through Redis: a page that hears it no more polls."""
    monkeypatch.setattr(live, "PULSE_EVERY", 0.2)
    alice = token(signed_in("alice"))
    with private_redis() as (url, server), serve(app_with(redis=RedisSettings(url=url))) as address:
        page = LivePage(address, alice)
        assert page.heard("pulse")
        server.kill()
        until(lambda: not page.heard("pulse", timeout=0.6), "the pulse to stop with Redis")
        page.close()


def test_a_socket_needs_a_sign_in_before_the_upgrade(alice: FlaskClient, address: str) -> None:
    """Raw WebSockets without one would hold all threads and stop the portal."""
    assert refusal(address) == 401
    assert refusal(address, "no-such-token") == 401
    assert refusal(address, token(alice), origin="https://evil.example") == 403
    LivePage(address, token(alice), origin="http://127.0.0.1").close()  # this client's Host has no port


def test_nobody_takes_all_sockets(app_with: AppWith, signed_in: SignedIn) -> None:
    """There is a cap for each user and one for the process; who is refused polls, and room is given back."""
    alice, bob = token(signed_in("alice")), token(signed_in("bob"))
    with serve(app_with(web=WebSettings(live_sockets=3, live_sockets_per_user=2))) as address:
        mine = [LivePage(address, alice, join=False) for _ in range(2)]
        assert refusal(address, alice) == 503
        his = LivePage(address, bob)
        assert refusal(address, bob) == 503
        for page in (*mine, his):
            page.close()
        until(lambda: _opens(address, alice), "room after the sockets were closed")


def _opens(address: str, sign_in: str) -> bool:
    try:
        LivePage(address, sign_in).close()
    except simple_websocket.ConnectionError:
        return False
    return True


def test_signing_out_closes_the_sockets_of_this_sign_in_only(
    signed_in: SignedIn, app: APIFlask, address: str, open_page: OpenPage
) -> None:
    """Another browser of the same person stays open."""
    here = signed_in("alice")
    there = app.test_client()
    there.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"})
    leaving, staying = open_page(here), open_page(there)
    assert here.post("/api/v1/sign-out", headers=HEADER).status_code == 204
    assert leaving.is_closed_within(20)
    assert not staying.is_closed_within(0.5)


def test_an_expired_sign_in_loses_its_socket(
    alice: FlaskClient, runtime: Runtime, address: str, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage
) -> None:
    """At the next pulse, in whichever process holds it."""
    monkeypatch.setattr(live, "PULSE_EVERY", 0.2)
    page = open_page(alice)
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(expires_at=now() - timedelta(seconds=1)))
    assert page.is_closed_within(20)


def test_who_is_no_administrator_any_more_hears_no_more_of_others(
    admin: FlaskClient, runtime: Runtime, new_person: NewPerson, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage
) -> None:
    """The socket is closed at the next pulse; the one that the page then opens hears what a user hears."""
    monkeypatch.setattr(live, "PULSE_EVERY", 0.2)
    page = open_page(admin)
    new_person("ada")
    assert page.is_closed_within(20)
    monkeypatch.setattr(live, "PULSE_EVERY", 60)
    again = open_page(admin)
    pools.drain(runtime, new_person("root", admin=True), "light-ral")
    assert {kind for kind, _ in again.notices()} <= {"availability"}


def test_plain_requests_to_the_sockets_address_are_refused(alice: FlaskClient) -> None:
    """WebSocket only: long polling would need sticky sessions."""
    assert alice.get("/socket.io/?EIO=4&transport=polling").status_code == 400
