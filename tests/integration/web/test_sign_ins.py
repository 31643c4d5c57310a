"""One's own sign-ins: recognised, revoked, and nobody else's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from playwright.sync_api import expect
from sqlalchemy import event, select, update

from broker.database import now
from broker.identity.models import SignIn
from broker.runtime import Runtime
from broker.settings import WebSettings
from tests.integration.web.conftest import AppWith, OpenAs, SignedIn
from tests.integration.web.served import LivePage, serve

HEADER = {"X-Requested-With": "test"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def another(app: APIFlask, name: str = "alice", **environ: str) -> FlaskClient:
    """Another browser of the same person."""
    browser = app.test_client()
    told = {"name": name, "password": f"{name}-secret"}
    answer = browser.post("/api/v1/sign-in", json=told, headers={"User-Agent": FIREFOX}, environ_base=environ)
    assert answer.status_code == 200, answer.text
    return browser


def test_each_is_recognised_by_when_where_and_with_what(alice: FlaskClient, app: APIFlask) -> None:
    """And the one that asks is marked, and first."""
    another(app, REMOTE_ADDR="192.0.2.7")
    this, other = alice.get("/api/v1/me/sign-ins").json
    assert (this["is_this"], other["is_this"]) == (True, False)
    assert (other["address"], other["program"], other["provider"]) == ("192.0.2.7", "Firefox on Linux", None)
    assert other["created_at"][:10] == other["seen_at"][:10] == now().isoformat()[:10]
    page = alice.get("/account").text
    assert "192.0.2.7" in page
    assert "Firefox on Linux" in page
    assert page.count("This one") == 1


def test_one_is_ended_with_what_hangs_on_it(alice: FlaskClient, app: APIFlask) -> None:
    """Its page closes at once; twice is once."""
    other = another(app)
    cookie = other.get_cookie("beamdesk")
    assert cookie is not None
    id_ = next(one["id"] for one in alice.get("/api/v1/me/sign-ins").json if not one["is_this"])
    with serve(app) as address:
        page = LivePage(address, cookie.value)
        for _ in range(2):
            assert alice.delete(f"/api/v1/me/sign-ins/{id_}", headers=HEADER).status_code == 204
        assert page.is_closed_within(2)
        page.close()
    assert other.get("/api/v1/me").status_code == 401
    assert len(alice.get("/api/v1/me/sign-ins").json) == 1


def test_all_others_are_ended_at_once(alice: FlaskClient, app: APIFlask, signed_in: SignedIn) -> None:
    """This one stays, and so do other people's."""
    bob, others = signed_in("bob"), [another(app) for _ in range(3)]
    assert alice.delete("/api/v1/me/sign-ins", headers=HEADER).status_code == 204
    assert [browser.get("/api/v1/me").status_code for browser in others] == [401, 401, 401]
    assert alice.get("/api/v1/me").status_code == bob.get("/api/v1/me").status_code == 200


def test_nobody_ends_another_persons(alice: FlaskClient, signed_in: SignedIn, runtime: Runtime) -> None:
    """Nor learns that it is there."""
    bob = signed_in("bob", admin=True)
    with runtime.database.reading() as db:
        id_ = db.scalars(select(SignIn.id).order_by(SignIn.id)).first()
    theirs = bob.delete(f"/api/v1/me/sign-ins/{id_}", headers=HEADER)
    missing = bob.delete("/api/v1/me/sign-ins/4711", headers=HEADER)
    assert theirs.status_code == missing.status_code == 404
    assert theirs.json == {**missing.json, "detail": theirs.json["detail"]}
    assert alice.get("/api/v1/me").status_code == 200


def test_what_is_over_is_not_listed(alice: FlaskClient, app: APIFlask, runtime: Runtime) -> None:
    """Neither ended nor expired ones."""
    another(app)
    with runtime.database.transaction() as db:
        newest = select(SignIn.id).order_by(SignIn.id.desc()).limit(1).scalar_subquery()
        db.execute(update(SignIn).where(SignIn.id == newest).values(expires_at=now() - timedelta(seconds=1)))
    assert len(alice.get("/api/v1/me/sign-ins").json) == 1


def test_being_seen_is_written_once_a_minute(alice: FlaskClient, runtime: Runtime) -> None:
    """A page asks every few seconds; the database need not know of each."""
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).values(seen_at=now() - timedelta(minutes=5)))
    writes: list[str] = []
    engine = runtime.database.engine
    event.listen(engine, "before_cursor_execute", lambda *told: writes.append(told[2]))
    for _ in range(5):
        assert alice.get("/api/v1/me").status_code == 200
    assert sum(words.startswith("UPDATE sign_ins") for words in writes) == 1
    [one] = alice.get("/api/v1/me/sign-ins").json
    assert now().isoformat()[:16] <= one["seen_at"][:16]


@pytest.mark.parametrize(("proxies", "found"), [(0, "127.0.0.1"), (1, "198.51.100.9")])
def test_behind_a_proxy_the_visitors_own_address_counts(
    app_with: AppWith, signed_in: SignedIn, proxies: int, found: str
) -> None:
    """Where the settings say that there is one; otherwise anybody could claim any address."""
    signed_in("alice")
    app = app_with(web=WebSettings(proxies=proxies))
    browser = app.test_client()
    told = {"X-Forwarded-For": "203.0.113.1, 198.51.100.9"}
    browser.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"}, headers=told)
    assert browser.get("/api/v1/me/sign-ins").json[0]["address"] == found


def test_the_page_ends_sign_ins_by_its_buttons(open_as: OpenAs, app: APIFlask) -> None:
    """With the keyboard alone; this one has no such button."""
    page = open_as("alice", "/account")
    others = [another(app, REMOTE_ADDR=f"192.0.2.{number}") for number in (1, 2, 3)]
    page.reload()
    rows = page.get_by_role("row").filter(has_text="192.0.2.")
    assert rows.count() == 3
    rows.filter(has_text="192.0.2.2").get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Firefox on Linux is signed out.").wait_for()
    expect(page.locator("[id^=end-sign-in-]")).to_have_count(2)
    assert [browser.get("/api/v1/me").status_code for browser in others] == [200, 401, 200]
    page.get_by_role("button", name="Sign out everywhere else").click()
    page.get_by_role("button", name="Sign them out").click()
    expect(page.locator("[id^=end-sign-in-]")).to_have_count(0)
    assert [browser.get("/api/v1/me").status_code for browser in others] == [401, 401, 401]
    assert page.get_by_text("This one").count() == 1
