"""Where actions in the audit log came from, and that nothing that changes something is missing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from broker.database import now
from broker.events import Event
from broker.identity import service as identity
from broker.identity import tokens
from broker.identity.models import User
from broker.identity.rights import Right, Role
from broker.identity.service import create_account
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from broker.settings import VmmSettings, WebSettings
from broker.sharing import support
from tests.conftest import NewPerson
from tests.integration.audit.rows import write
from tests.integration.web.conftest import AppWith, NewMachines, SignedIn
from tests.integration.web.test_changes import KEY

HEADER = {"X-Requested-With": "test"}


def rows(runtime: Runtime, action: str) -> list[tuple[str, str | None, str | None]]:
    """Who did it, from where, by what."""
    with runtime.database.reading() as db:
        found = db.execute(
            select(Event.actor, Event.client, Event.via).where(Event.action == action).order_by(Event.id)
        )
        return [tuple(row) for row in found]


def test_a_browser_and_a_program_of_the_same_person_differ(
    app: APIFlask, new_person: NewPerson, new_machines: NewMachines, runtime: Runtime
) -> None:
    """By the sign-in and by how it was shown; both with the address that they came from."""
    new_person("alice")
    new_machines("light-ral", 2)
    browser, program = app.test_client(), app.test_client(use_cookies=False)
    browser.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"})
    answer = program.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"})
    bearer = {"Authorization": f"Bearer {answer.json['token']}"}
    wish = {"environment": "light", "another": True}
    browser.post("/api/v1/sessions", json=wish, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    program.post("/api/v1/sessions", json=wish, headers=bearer, environ_base={"REMOTE_ADDR": "2001:db8::7"})
    assert rows(runtime, "session:requested") == [
        ("alice", "192.0.2.7", "browser sign-in 1"),
        ("alice", "2001:db8::7", "program sign-in 2"),
    ]
    # what followed in the same request came from there, too
    assert [row[1:] for row in rows(runtime, "machine:acquired")] == [
        row[1:] for row in rows(runtime, "session:requested")
    ]


def test_work_of_the_brokers_own_came_from_nowhere(alice: FlaskClient, runtime: Runtime) -> None:
    """After a request in the very same thread, and after one that failed."""
    alice.post("/api/v1/sessions", json={"environment": "nonsense"})
    alice.get("/nowhere")
    write(runtime.database)
    assert rows(runtime, "pool:resize") == [("ada", None, None)]


def test_who_fails_to_sign_in_is_nobody_from_somewhere(app: APIFlask, new_person: NewPerson, runtime: Runtime) -> None:
    """By the form and by the API; the name that was tried is the subject."""
    new_person("alice")
    client = app.test_client()
    where = {"REMOTE_ADDR": "192.0.2.9"}
    client.post("/api/v1/sign-in", json={"name": "alice", "password": "wrong"}, environ_base=where)
    client.post("/sign-in", data={"name": "mallory", "password": "wrong"}, environ_base=where)
    assert rows(runtime, "account:sign-in-failed") == [("nobody", "192.0.2.9", None)] * 2


def test_a_service_account_is_named_as_such(app_with: AppWith, runtime: Runtime, new_machines: NewMachines) -> None:
    """A program that launches for its own users."""
    create_account(runtime, "topcat", "TOPCAT", "topcat-secret", role=Role.SERVICE)
    new_machines("light-ral")
    client = app_with(vmm=VmmSettings(enabled=True, types={1: "light-ral"})).test_client()
    headers = {"VMM-User": "topcat", "VMM-Password": "topcat-secret"}
    client.post("/vmm/machines", json={"machine_type_id": 1}, headers=headers)
    assert rows(runtime, "session:requested") == [("topcat", "127.0.0.1", "service account")]


@pytest.mark.parametrize(("proxies", "came_from"), [(0, "127.0.0.1"), (1, "203.0.113.5"), (2, "198.51.100.4")])
def test_behind_proxies_the_address_is_the_one_that_they_vouch_for(
    app_with: AppWith, new_person: NewPerson, runtime: Runtime, proxies: int, came_from: str
) -> None:
    """And no other: what a client writes into the header itself counts for nothing."""
    new_person("alice")
    client = app_with(web=WebSettings(proxies=proxies)).test_client()
    forwarded = {"X-Forwarded-For": "10.66.66.66, 198.51.100.4, 203.0.113.5"}
    client.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"}, headers=forwarded)
    assert rows(runtime, "account:sign-in") == [("alice", came_from, None)]


def test_every_operation_that_changes_something_is_in_the_log_with_its_actor(
    app: APIFlask,
    signed_in: SignedIn,
    new_person: NewPerson,
    runtime: Runtime,
    new_machines: NewMachines,
    make_ready: Callable[[int], None],
) -> None:
    """Each address of the API that is no GET, done once; a new one that writes nothing down fails here."""
    admin = signed_in("ada", admin=True)
    new_person("bob")
    new_machines("light-ral", 4)
    spare = new_machines("light-dl")[0]
    begin = now() + timedelta(minutes=1)
    times = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=1)).isoformat()}
    done: set[tuple[str, str]] = set()

    def call(method: str, path: str, body: Any = None, **at: Any) -> Any:
        before = _newest(runtime)
        done.add((method.lower(), f"/api/v1{path}"))
        answer = admin.open(f"/api/v1{path.format(**at)}", method=method, json=body, headers=HEADER)
        assert answer.status_code < 300, (method, path, answer.text)
        with runtime.database.reading() as db:
            new = db.execute(select(Event.actor, Event.client, Event.via).where(Event.id > before)).all()
        assert any(row.actor == "ada" and row.client == "127.0.0.1" for row in new), (method, path, new)
        return answer.json

    session = call("POST", "/sessions", {"environment": "light"})["id"]
    make_ready(session)
    call("POST", "/sessions/{session_id}/tickets", session_id=session)
    call("POST", "/sessions/{session_id}/sound-tickets", session_id=session)
    call("POST", "/sessions/{session_id}/extend", {"hours": 1}, session_id=session)
    call("POST", "/sessions/{session_id}/stay", session_id=session)
    call("POST", "/sessions/{session_id}/keep", {"until": "work-ends"}, session_id=session)
    waiting = admin.post("/api/v1/sessions", json={"environment": "science"}).json["id"]
    call("POST", "/sessions/{session_id}/wish", {"cores": 1}, session_id=waiting)
    call("POST", "/sessions/{session_id}/certificates", {"public_key": KEY}, session_id=session)
    _sharing(call, signed_in("bob"), new_person, runtime, session, make_ready)
    call("DELETE", "/sessions/{session_id}", session_id=session)
    for verb, body in (("resize", {"target": 3, "limit": 9}), ("drain", None), ("resume", None)):
        call("POST", f"/admin/pools/{{name}}/{verb}", body, name="science-ral")
    for verb in ("drain", "resume"):
        call("POST", f"/admin/clouds/{{name}}/{verb}", name="dl")
    call("POST", "/admin/machines/{machine_id}/retire", machine_id=spare)
    _failed(runtime, new_machines)
    call("POST", "/admin/machines/{machine_id}/retry", machine_id=_failed(runtime, new_machines))
    booking = {"title": "B", "environment": "light", "group": "g", "seats": 1, **times}
    reservation = call("POST", "/admin/reservations", booking)["id"]
    call("PATCH", "/admin/reservations/{reservation_id}", {"seats": 2}, reservation_id=reservation)
    call("DELETE", "/admin/reservations/{reservation_id}", reservation_id=reservation)
    lesson = call("POST", "/courses", {"title": "C", "environment": "light", "seats": 1, **times})
    course = lesson["course"]["id"]
    token = call("POST", "/courses/{course_id}/link", course_id=course)["link"].rsplit("/", 1)[1]
    call("POST", "/courses/join", {"token": token, "pictures": True})
    call("PATCH", "/courses/{course_id}/seat", {"pictures": False}, course_id=course)
    call("PATCH", "/courses/{course_id}", {"seats": 2}, course_id=course)
    call("POST", "/courses/{course_id}/seat", course_id=course)
    call("POST", "/courses/{course_id}/teachers", {"name": "bob"}, course_id=course)
    call("DELETE", "/courses/{course_id}/teachers/{teacher}", course_id=course, teacher="bob")
    call("DELETE", "/courses/{course_id}/link", course_id=course)
    call("DELETE", "/courses/{course_id}", course_id=course)
    call("POST", "/admin/audit/verify")
    token_id = call("POST", "/me/tokens", {"name": "script", "rights": ["launch"]})["id"]
    call("DELETE", "/me/tokens/{token_id}", token_id=token_id)
    code = app.test_client().post("/api/v1/device", json={"program": "beamdesk"}).json["user_code"]
    call("POST", "/device/{user_code}", {"allow": True}, user_code=code)
    key = call("POST", "/me/keys", {"name": "laptop", "public_key": KEY})["id"]
    call("DELETE", "/me/keys/{key_id}", key_id=key)
    other = identity.sign_in(runtime, "ada", "ada-secret")[1].sign_in_id
    call("DELETE", "/me/sign-ins/{sign_in_id}", sign_in_id=other)
    identity.sign_in(runtime, "ada", "ada-secret")
    call("DELETE", "/me/sign-ins")
    call("POST", "/sign-in", {"name": "ada", "password": "ada-secret"})
    call("POST", "/sign-out")
    document = app.test_client().get("/api/v1/openapi.json").json
    changing = {
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("post", "put", "patch", "delete")
    }
    assert changing - done - ELSEWHERE == set(), "nobody showed that these are in the audit log"


def _sharing(
    call: Callable[..., Any],
    bob: FlaskClient,
    new_person: NewPerson,
    runtime: Runtime,
    session: int,
    make_ready: Callable[[int], None],
) -> None:
    """What Ada does as an owner, as a guest, and as support."""
    shared = {"session_id": session}
    share = call("POST", "/sessions/{session_id}/shares", {"user": "bob"}, **shared)["share"]["id"]
    call("DELETE", "/sessions/{session_id}/shares/{share_id}", share_id=share, **shared)
    call("POST", "/sessions/{session_id}/shares", {}, **shared)
    call("DELETE", "/sessions/{session_id}/shares", **shared)
    sue = identity.create_account(runtime, "sue", "Sue", "sue-secret", role=Role.SUPPORT)
    request = support.ask(runtime, sue, session, "You wrote that it hangs.").id
    call("POST", "/join-requests/{request_id}", {"answer": "look"}, request_id=request)
    bobs = bob.post("/api/v1/sessions", json={"environment": "light"}).json["id"]
    make_ready(bobs)
    link = bob.post(f"/api/v1/sessions/{bobs}/shares", json={}).json["link"]
    mine = call("POST", "/shares/join", {"token": link.rsplit("/", 1)[1]})["id"]
    call("POST", "/shares/{share_id}/tickets", share_id=mine)
    call("POST", "/shares/{share_id}/sound-tickets", share_id=mine)
    call("DELETE", "/shares/{share_id}", share_id=mine)
    asked = call("POST", "/sessions/{session_id}/join-requests", {"reason": "May I?"}, session_id=bobs)["id"]
    call("DELETE", "/join-requests/{request_id}", request_id=asked)
    call("POST", "/sessions/{session_id}/break-glass", {"reason": "It burns."}, session_id=bobs)
    with runtime.database.transaction() as db:
        db.execute(update(User).values(groups=["rb123"]))
        db.execute(update(UserSession).values(group="rb123"))
    offer = call("POST", "/sessions/{session_id}/handovers", {"user": "bob"}, **shared)["id"]
    call("DELETE", "/handovers/{handover_id}", handover_id=offer)
    theirs = bob.post(f"/api/v1/sessions/{bobs}/handovers", json={"user": "ada"}).json["id"]
    call("POST", "/handovers/{handover_id}", {"answer": "accepted"}, handover_id=theirs)
    call("DELETE", "/sessions/{session_id}", session_id=bobs)


ELSEWHERE = {
    ("post", "/api/v1/sessions/{session_id}/files"),  # needs a machine: tests/journeys/test_files.py
    ("delete", "/api/v1/me/identities/{name}"),  # needs a provider: tests/integration/web/openid/test_linking.py
    ("post", "/api/v1/me/identities/{name}"),  # leads to the provider; tests/integration/web/openid has what comes back
    ("post", "/api/v1/act-for"),  # in the test after this one
    ("post", "/api/v1/device"),  # a stranger's wish; what its user decides is in the log
    ("post", "/api/v1/device/token"),  # hands over what was decided
}


def test_a_program_with_a_token_is_named_by_it(app: APIFlask, new_person: NewPerson, runtime: Runtime) -> None:
    """One that is given a token of a user's, and its use of that token."""
    new_person("alice")
    service = create_account(runtime, "catalogue", "Catalogue", "catalogue-secret", role=Role.SERVICE)
    secret, row = tokens.make(runtime, service, "its own", [Right.ACT], timedelta(days=1))
    program = app.test_client()
    header = {"Authorization": f"Bearer {secret}"}
    made = program.post("/api/v1/act-for", json={"user": "alice"}, headers=header)
    assert made.status_code == 201, made.text
    assert rows(runtime, "account:token")[-1] == ("catalogue", "127.0.0.1", f"token {row.id}")


def _newest(runtime: Runtime) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(Event.id).order_by(Event.id.desc()).limit(1)) or 0


def _failed(runtime: Runtime, new_machines: NewMachines) -> int:
    from broker.pools.models import MachineState

    return new_machines("light-ral", 1, MachineState.FAILED)[0]
