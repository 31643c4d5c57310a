"""Signing out: here and at the provider, and by the provider's own word."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select

from broker.database import now
from broker.identity import logout
from broker.identity.models import LogoutNotice
from broker.runtime import Runtime
from tests.conftest import FakeLauncher
from tests.integration.web.openid.conftest import NewDeployment, me, sign_in
from tests.integration.web.served import LivePage, serve
from tests.peers.oidc.minimal import Minimal, new_key
from web.app import create_app

HEADER = {"X-Requested-With": "test"}


def send(portal: APIFlask, token: str, name: str = "facility") -> int:
    """The provider posts a logout token; the answer's status."""
    answer = portal.test_client().post(f"/sign-in/{name}/logout", data={"logout_token": token})
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.status_code == 200 or answer.json["error"] == "invalid_request"
    return answer.status_code


@pytest.fixture
def signed_in(browser: FlaskClient, idp: Minimal) -> FlaskClient:
    """Alice, by the provider."""
    sign_in(browser, idp)
    assert me(browser)["name"] == "alice"
    return browser


def test_the_provider_signs_one_session_out(portal: APIFlask, signed_in: FlaskClient, idp: Minimal) -> None:
    """That of the `sid`; the person's other browser, of another `sid`, stays."""
    other = portal.test_client()
    idp.change_id_token = lambda told: {**told, "sid": "sid-2"}
    sign_in(other, idp)
    assert send(portal, idp.logout_token()) == 200
    assert me(signed_in) is None
    assert me(other) is not None


def test_without_a_session_all_of_the_person_end(portal: APIFlask, signed_in: FlaskClient, idp: Minimal) -> None:
    """But nobody else's, nor those by a password."""
    other, bob = portal.test_client(), portal.test_client()
    sign_in(other, idp)
    idp.person = {"sub": "bob", "preferred_username": "bob"}
    sign_in(bob, idp)
    idp.person = {"sub": "alice"}
    assert send(portal, idp.logout_token(sid=None)) == 200
    assert (me(signed_in), me(other)) == (None, None)
    assert me(bob) is not None


def test_open_pages_close_at_once(here: Runtime, launcher: FakeLauncher, idp: Minimal) -> None:
    """In the process that hears of it at once, in another one within two seconds."""
    one, other = create_app(here, launcher), create_app(here, launcher)
    browser = one.test_client()
    sign_in(browser, idp)
    cookie = browser.get_cookie("beamdesk")
    assert cookie is not None
    with serve(one) as near, serve(other) as far:
        pages = [LivePage(near, cookie.value), LivePage(far, cookie.value)]
        began = time.monotonic()
        assert send(one, idp.logout_token()) == 200
        assert pages[0].is_closed_within(2)
        assert pages[1].is_closed_within(3 - (time.monotonic() - began))
        for page in pages:
            page.close()


BAD: dict[str, Callable[[Minimal], str]] = {
    "of another issuer": lambda idp: idp.logout_token(iss="https://evil.example"),
    "for somebody else": lambda idp: idp.logout_token(aud="another"),
    "too old": lambda idp: idp.logout_token(iat=int(time.time()) - 600, exp=None),
    "expired": lambda idp: idp.logout_token(exp=int(time.time()) - 100),
    "from the future": lambda idp: idp.logout_token(iat=int(time.time()) + 300),
    "without a time": lambda idp: idp.logout_token(iat=None),
    "with words for a time": lambda idp: idp.logout_token(iat="now"),
    "with yes for a time": lambda idp: idp.logout_token(iat=True),
    "without a number": lambda idp: idp.logout_token(jti=None),
    "with a list for a number": lambda idp: idp.logout_token(jti=["a"]),
    "of no event": lambda idp: idp.logout_token(events=None),
    "of another event": lambda idp: idp.logout_token(events={"http://schemas.example/other": {}}),
    "with events that are none": lambda idp: idp.logout_token(events=["backchannel-logout"]),
    "with an event that is none": lambda idp: idp.logout_token(events={logout.EVENT: "yes"}),
    "with a nonce": lambda idp: idp.logout_token(nonce="an ID token's"),
    "that names nobody": lambda idp: idp.logout_token(sub=None, sid=None),
    "of another kind": lambda idp: idp.logout_token(typ="at+jwt"),
    "signed by another": lambda idp: idp.logout_token(new_key()),
    "unsigned": lambda idp: "eyJhbGciOiJub25lIn0." + idp.logout_token().split(".")[1] + ".",
    "cut": lambda idp: idp.logout_token()[:-20],
    "empty": lambda idp: "",
    "garbage": lambda idp: "\x00ä" * 50,
    "huge": lambda idp: "a" * 40_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_logout_token_that_is_not_good_ends_nothing(
    portal: APIFlask, signed_in: FlaskClient, idp: Minimal, name: str
) -> None:
    """And is answered as the specification wants it."""
    assert send(portal, BAD[name](idp)) == 400
    assert me(signed_in) is not None


def test_an_id_token_is_no_logout_token(portal: APIFlask, signed_in: FlaskClient, idp: Minimal) -> None:
    """Whoever sees one, as every service that the person signs in to, cannot sign them out here."""
    claims = {"iss": idp.issuer, "aud": "beamdesk", "sub": "alice", "sid": "sid-1", "iat": int(time.time())}
    assert send(portal, idp.signed({**claims, "exp": int(time.time()) + 60, "jti": "x"})) == 400
    assert me(signed_in) is not None


def test_a_logout_token_counts_once(portal: APIFlask, signed_in: FlaskClient, idp: Minimal, here: Runtime) -> None:
    """Who keeps one cannot throw the person out again; what is kept of them does not grow."""
    token = idp.logout_token(sid=None)
    assert send(portal, token) == 200
    sign_in(signed_in, idp)
    assert send(portal, token) == 400
    assert me(signed_in) is not None
    with here.database.transaction() as db:
        [notice] = db.scalars(select(LogoutNotice))
        notice.at = now().replace(year=2020)
    assert send(portal, idp.logout_token()) == 200
    with here.database.reading() as db:
        assert len(db.scalars(select(LogoutNotice)).all()) == 1


def test_a_provider_signs_out_its_own_people_only(
    deployment: NewDeployment, idp: Minimal, second: Minimal, launcher: FakeLauncher
) -> None:
    """Another provider's token of the same subject and session, sent to either address, ends nothing."""
    app = create_app(deployment(facility={"issuer": idp.issuer}, other={"issuer": second.issuer}), launcher)
    browser = app.test_client()
    sign_in(browser, idp)
    assert send(app, second.logout_token(), "facility") == 400
    assert send(app, second.logout_token(), "other") == 200
    assert me(browser) is not None


def test_a_page_cannot_make_a_browser_send_it(portal: APIFlask, signed_in: FlaskClient, idp: Minimal) -> None:
    """The provider has no cookie; a browser that comes with one was sent by a form."""
    answer = signed_in.post("/sign-in/facility/logout", data={"logout_token": idp.logout_token()})
    assert answer.status_code == 403
    assert me(signed_in) is not None


def test_signing_out_goes_on_at_the_provider(browser: FlaskClient, idp: Minimal) -> None:
    """Where it has an end for sessions; with the ID token, so that it need not ask who it is."""
    idp.change_metadata = lambda told: {**told, "end_session_endpoint": f"{idp.issuer}/end?realm=1"}
    sign_in(browser, idp)
    answer = browser.post("/api/v1/sign-out", headers=HEADER)
    assert answer.status_code == 200
    assert me(browser) is None
    address = urlsplit(answer.json["continue_at"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{idp.issuer}/end"
    told = {name: one[0] for name, one in parse_qs(address.query).items()}
    assert (told["realm"], told["client_id"]) == ("1", "beamdesk")
    assert told["post_logout_redirect_uri"] == "http://localhost/sign-in"
    assert told["id_token_hint"].count(".") == 2
    assert browser.post("/api/v1/sign-out", headers=HEADER).status_code == 204, "twice is once"


def test_signing_out_works_while_the_provider_is_away(browser: FlaskClient, idp: Minimal) -> None:
    """Or has no such end: then it is signed out here."""
    sign_in(browser, idp)
    assert browser.post("/api/v1/sign-out", headers=HEADER).status_code == 204
    assert me(browser) is None
