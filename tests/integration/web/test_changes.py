"""Somebody's rights, or the settings, change while sessions are open; and refusals leave everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, func, select

from broker.database import Base
from broker.events import Event
from broker.identity.models import SignIn
from broker.identity.service import create_account
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from tests.integration.web.conftest import AppWith, NewMachines, SignedIn

SECRET = {"environment": "secret"}
HEADER = {"X-Requested-With": "test"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICsv+Lq3ERVnYYyRDVJpb61QBjIDSFygrBlN8IzWhAbg"


def everything(runtime: Runtime) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with runtime.database.reading() as db:
        return {table.name: sorted(map(str, db.execute(select(table)))) for table in Base.metadata.sorted_tables}


def test_who_leaves_a_group_keeps_the_desktop_and_gets_no_new_one(
    runtime: Runtime, signed_in: SignedIn, new_machines: NewMachines, make_ready: Callable[[int], None]
) -> None:
    """Rights are looked up at each request, not kept from the sign-in; nobody's work is cut off by it."""
    secret = runtime.settings.pools["science-ral"].model_copy(update={"environment": "secret", "name": "secret-ral"})
    runtime.settings.pools["secret-ral"] = secret
    new_machines("secret-ral", 2)
    alice = signed_in("alice", groups=("few",))
    session = alice.post("/api/v1/sessions", json=SECRET).json["id"]
    make_ready(session)
    create_account(runtime, "alice", "Alice", "alice-secret", groups=())
    assert alice.get(f"/api/v1/sessions/{session}").json["state"] == "ready"
    assert alice.post(f"/api/v1/sessions/{session}/tickets", json={}).status_code == 201
    refused = alice.post("/api/v1/sessions", json={**SECRET, "another": True})
    assert (refused.status_code, refused.json["code"]) == (422, "unknown-environment")
    assert "secret" not in [environment["name"] for environment in alice.get("/api/v1/environments").json]


def test_who_is_no_administrator_any_more_sees_no_dashboard(
    runtime: Runtime, admin: FlaskClient, alice: FlaskClient, ready_session: int
) -> None:
    """From the next request on, without signing in again."""
    assert admin.get("/admin/").status_code == 200
    create_account(runtime, "ada", "Ada", "ada-secret")
    assert admin.get("/admin/").status_code == 403
    assert admin.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER).status_code == 404
    assert alice.get(f"/api/v1/sessions/{ready_session}").json["state"] == "ready"


def test_who_lost_the_sign_in_leads_nowhere_and_the_session_goes_on(
    runtime: Runtime, alice: FlaskClient, admin: FlaskClient, ready_session: int
) -> None:
    """A removed sign-in opens no page, no ticket and no file; an administrator decides about the desktop."""
    with runtime.database.transaction() as db:
        db.execute(delete(SignIn).where(SignIn.user_id == db.get_one(UserSession, ready_session).user_id))
    assert alice.get("/").status_code == 302
    for method, path in (("POST", "tickets"), ("GET", "connection.rdp"), ("POST", "certificates")):
        body = {} if method == "POST" else None
        answer = alice.open(f"/api/v1/sessions/{ready_session}/{path}", method=method, headers=HEADER, json=body)
        assert answer.json["code"] == "not-signed-in"
    assert [session["state"] for session in admin.get("/api/v1/admin/sessions").json] == ["ready"]


def test_what_left_the_settings_is_still_shown(
    app_with: AppWith, alice: FlaskClient, admin: FlaskClient, ready_session: int
) -> None:
    """Sessions of an environment, a pool and a size that are gone: no page fails, and one can be ended."""
    alice.post("/api/v1/sessions", json={"environment": "science"})
    later = app_with(environments={}, pools={}, sizes={}, clouds={})
    for browser, paths in ((alice, ("/", "/history", "/api/v1/sessions")), (admin, ("/admin/", "/api/v1/admin/queue"))):
        token = browser.get_cookie("beamdesk")
        assert token is not None
        bearer = {"Authorization": f"Bearer {token.value}"}
        for path in paths:
            assert later.test_client().get(path, headers=bearer).status_code == 200, path
        ended = later.test_client().delete(f"/api/v1/sessions/{ready_session}", headers=bearer)
        assert (ended.status_code, ended.json["state"]) == (200, "ending")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/sessions", {"environment": "nowhere"}, 422, "unknown-environment"),
        ("POST", "/sessions", {"environment": "secret"}, 422, "unknown-environment"),
        ("POST", "/sessions", {"environment": "science", "cores": 64}, 422, "nothing-fits"),
        ("POST", "/sessions", {"environment": "science", "location": "dl"}, 422, "nothing-fits"),
        ("POST", "/sessions", {"environment": "light"}, 409, "already-running"),
        ("POST", "/sessions", {"environment": "science"}, 429, "over-quota"),
        ("POST", "/sessions", {"environment": "science", "note": "x" * 70_000}, 413, "body-too-large"),
        ("POST", "/sessions/{mine}/extend", {"hours": 167}, 422, "lease-too-long"),
        ("POST", "/sessions/{mine}/extend", {"hours": -1}, 422, "invalid-request"),
        ("POST", "/sessions/{queued}/extend", {"hours": 1}, 409, "session-not-ready"),
        ("POST", "/sessions/{queued}/tickets", {}, 409, "session-not-ready"),
        ("GET", "/sessions/{queued}/connection.rdp", None, 409, "session-not-ready"),
        ("GET", "/sessions/{bobs}", None, 404, "not-found"),
        ("DELETE", "/sessions/{bobs}", {}, 404, "not-found"),
        ("POST", "/sessions/{bobs}/extend", {"hours": 1}, 404, "not-found"),
        ("POST", "/sessions/{bobs}/tickets", {}, 404, "not-found"),
        ("POST", "/sessions/{bobs}/certificates", {"public_key": KEY}, 404, "not-found"),
        ("POST", "/sessions/{queued}/certificates", {"public_key": KEY}, 409, "session-not-ready"),
        ("POST", "/me/keys", {"name": "mine", "public_key": "ssh-dss AAAA"}, 422, "invalid-request"),
        ("GET", "/sessions/{bobs}/connection.rdp", None, 404, "not-found"),
        ("POST", "/admin/pools/light-ral/resize", {"target": 0, "limit": 0}, 403, "forbidden"),
        ("POST", "/admin/machines/1/retire", {}, 403, "forbidden"),
    ],
)
def test_a_refusal_changes_no_row(
    runtime: Runtime,
    alice: FlaskClient,
    signed_in: SignedIn,
    ready_session: int,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    code: str,
) -> None:
    """Not a session, not a machine, not a line of the audit log; the answer says what happened and what to do."""
    bobs = signed_in("bob").post("/api/v1/sessions", json={"environment": "light"}).json["id"]
    queued = alice.post("/api/v1/sessions", json={"environment": "light", "another": True}).json["id"]
    if code == "over-quota":
        alice.post("/api/v1/sessions", json={"environment": "light", "another": True})
    before = everything(runtime)
    address = path.format(mine=ready_session, queued=queued, bobs=bobs)
    answer = alice.open(f"/api/v1{address}", method=method, json=body)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert (answer.json["code"], answer.json["type"]) == (code, f"/docs/errors#{code}")
    assert answer.json["detail"]
    assert answer.json["hint"]
    assert everything(runtime) == before


def test_a_launch_that_fits_nowhere_hears_why_of_each_pool(alice: FlaskClient) -> None:
    """Not "no resources available": each candidate, the rule, and the values."""
    detail = alice.post("/api/v1/sessions", json={"environment": "light", "location": "dl", "cores": 8}).json["detail"]
    assert "light-ral in Harwell is not in dl" in detail
    assert "light-dl in Daresbury has 4 cores, 8 wished" in detail


def test_one_returns_to_a_running_desktop_whatever_became_of_its_pool(
    runtime: Runtime, admin: FlaskClient, alice: FlaskClient, ready_session: int
) -> None:
    """Drained or full: the session that one has comes before any choice of a pool."""
    for pool in ("light-ral", "light-dl"):
        admin.post(f"/api/v1/admin/pools/{pool}/drain", headers=HEADER)
    card = next(e for e in alice.get("/api/v1/environments").json if e["name"] == "light")
    assert (card["session"], card["availability"]["possible"]) == (ready_session, False)
    again = alice.post("/api/v1/sessions", json={"environment": "light"})
    assert (again.json["code"], again.json["session"]) == ("already-running", ready_session)
    assert alice.post(f"/api/v1/sessions/{ready_session}/tickets", json={}).status_code == 201


def test_an_action_done_twice_stands_once_in_the_audit_log(
    runtime: Runtime, alice: FlaskClient, ready_session: int
) -> None:
    """Who ended it, and that it was once."""
    for _ in range(3):
        alice.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER)
    with runtime.database.reading() as db:
        endings = select(func.count()).select_from(Event).where(Event.action == "session:ending")
        assert db.scalar(endings) == 1
