"""Sessions over the API: launches, limits, ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from broker.errors import AlreadyRunning, WrongState
from broker.identity.service import Person, create_account
from broker.pools.allocation import Wish
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import SessionState, UserSession, move
from tests.conftest import FakeLauncher
from tests.integration.web.conftest import NewMachines, SignedIn
from tests.statements import counting

LIGHT = {"environment": "light"}
HEADER = {"X-Requested-With": "test"}


def test_a_launch_takes_a_machine_and_says_why_it_took_this_one(
    alice: FlaskClient, new_machines: NewMachines, launcher: FakeLauncher
) -> None:
    """The choice explains itself, is stored, and the desktop is prepared at once."""
    new_machines("light-ral", 2)
    session = alice.post("/api/v1/sessions", json=LIGHT).json
    assert session["state"] == "preparing"
    assert session["reason"] == "in Harwell, 1 core: smallest that fits; 2 vacant"
    assert session["machine"]["location"] == "Harwell"
    assert [step["done"] for step in session["steps"]] == [True, True, False, False]
    assert launcher.started == [session["id"]]
    assert alice.get(f"/api/v1/sessions/{session['id']}").json["reason"] == session["reason"]


def test_a_wish_is_kept_to(alice: FlaskClient, new_machines: NewMachines) -> None:
    """Location, cores and GPU are hard wishes, though a smaller machine is free elsewhere."""
    new_machines("light-ral", 2)
    new_machines("light-dl")
    session = alice.post("/api/v1/sessions", json={**LIGHT, "location": "dl", "cores": 2, "gpus": 1}).json
    assert (session["machine"]["location"], session["machine"]["gpus"]) == ("Daresbury", 1)


def test_without_a_vacant_machine_one_waits_in_order(
    signed_in: SignedIn, new_machines: NewMachines, launcher: FakeLauncher
) -> None:
    """With a place; nothing is prepared yet, and the card says how many are before one."""
    alice, bob, carol = (signed_in(name) for name in ("alice", "bob", "carol"))
    places = [browser.post("/api/v1/sessions", json=LIGHT).json for browser in (alice, bob)]
    assert [session["state"] for session in places] == ["queued", "queued"]
    assert [session["place"] for session in places] == [1, 2]
    assert launcher.started == []
    card = next(e for e in carol.get("/api/v1/environments").json if e["name"] == "light")
    assert card["availability"]["text"].startswith("Queue: 2 before you")


def test_nobody_overtakes_the_queue(signed_in: SignedIn, new_machines: NewMachines) -> None:
    """A machine that becomes vacant is for who waits, not for who clicks first after it."""
    alice, bob = signed_in("alice"), signed_in("bob")
    alice.post("/api/v1/sessions", json=LIGHT)
    new_machines("light-ral")
    assert bob.post("/api/v1/sessions", json=LIGHT).json["state"] == "queued"


def test_a_full_pool_queues_and_does_not_refuse(signed_in: SignedIn, new_machines: NewMachines) -> None:
    """All machines in use and the limit reached is a wait, not a mistake of the user."""
    new_machines("science-ral", 2, MachineState.ACQUIRED)
    answer = signed_in("alice").post("/api/v1/sessions", json={"environment": "science"})
    assert (answer.status_code, answer.json["state"]) == (201, "queued")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"environment": "nowhere"}, 422, "unknown-environment"),
        ({"environment": "secret"}, 422, "unknown-environment"),
        ({**LIGHT, "cores": 100}, 422, "nothing-fits"),
        ({**LIGHT, "location": "moon"}, 422, "nothing-fits"),
        ({**LIGHT, "cores": "many"}, 422, "invalid-request"),
        ({**LIGHT, "colour": "red"}, 422, "invalid-request"),
        ({}, 422, "invalid-request"),
        ([], 422, "invalid-request"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_changes_nothing(
    alice: FlaskClient, runtime: Runtime, new_machines: NewMachines, body: Any, status: int, code: str
) -> None:
    """With the reason, and what to do."""
    new_machines("light-ral")
    answer = alice.post("/api/v1/sessions", json=body)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.json["hint"]
    assert answer.mimetype == "application/problem+json"
    with runtime.database.reading() as db:
        assert db.scalar(select(func.count()).select_from(UserSession)) == 0
        assert db.scalar(select(Machine.state)) == MachineState.VACANT


def test_a_second_launch_offers_the_running_one(alice: FlaskClient, new_machines: NewMachines) -> None:
    """And makes another only when asked to."""
    new_machines("light-ral", 2)
    first = alice.post("/api/v1/sessions", json=LIGHT).json
    again = alice.post("/api/v1/sessions", json=LIGHT)
    assert (again.status_code, again.json["code"], again.json["session"]) == (409, "already-running", first["id"])
    assert alice.post("/api/v1/sessions", json={**LIGHT, "another": True}).status_code == 201


def test_nobody_holds_more_than_the_limit(alice: FlaskClient, new_machines: NewMachines, runtime: Runtime) -> None:
    """And an ended one makes room at once."""
    limit = runtime.settings.limits.sessions_per_user
    new_machines("light-ral", limit + 1)
    ids = [alice.post("/api/v1/sessions", json={**LIGHT, "another": True}).json["id"] for _ in range(limit)]
    refused = alice.post("/api/v1/sessions", json={**LIGHT, "another": True})
    assert (refused.status_code, refused.json["code"]) == (429, "over-quota")
    alice.delete(f"/api/v1/sessions/{ids[0]}", headers=HEADER)
    assert alice.post("/api/v1/sessions", json={**LIGHT, "another": True}).status_code == 201


def test_two_simultaneous_launches_make_one_session(each_runtime: Runtime) -> None:
    """A double click, or two tabs."""
    person = create_account(each_runtime, "alice", "Alice", "alice-secret")
    with each_runtime.database.transaction() as db:
        db.add_all(
            Machine(pool="light-ral", environment="light", size="small", cloud="ral", state=MachineState.VACANT)
            for _ in range(8)
        )
    together = Barrier(8)

    def click(_: int) -> int | None:
        together.wait()
        try:
            return service.request(each_runtime, person, Wish(environment="light")).id
        except AlreadyRunning:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = [id_ for id_ in threads.map(click, range(8)) if id_ is not None]
    assert len(made) == 1
    with each_runtime.database.reading() as db:
        taken = db.scalar(select(func.count()).where(Machine.state == MachineState.ACQUIRED))
    assert taken == 1


def test_many_people_at_once_get_one_machine_each(each_runtime: Runtime) -> None:
    """Seventy clicks on seventy vacant machines: seventy sessions, no error, no machine twice."""
    number = 70
    people = [create_account(each_runtime, f"user{i}", f"User {i}", "pass-word") for i in range(2)]
    people += [_copy(each_runtime, people[0], i) for i in range(2, number)]
    with each_runtime.database.transaction() as db:
        db.add_all(
            Machine(pool="light-ral", environment="light", size="small", cloud="ral", state=MachineState.VACANT)
            for _ in range(number)
        )
    with ThreadPoolExecutor(32) as threads:
        sessions = list(threads.map(lambda who: service.request(each_runtime, who, Wish(environment="light")), people))
    assert [session.state for session in sessions] == [SessionState.PREPARING] * number
    assert len({session.machine_id for session in sessions}) == number


def _copy(runtime: Runtime, person: Person, i: int) -> Person:
    """Another account; hashing seventy passwords would be most of the test's time."""
    from broker.identity.models import User
    from broker.identity.service import person_of

    with runtime.database.transaction() as db:
        user = User(name=f"user{i}", full_name=f"User {i}", role=person.role, groups=[], password_hash="x")
        db.add(user)
        db.flush()
        return person_of(user)


def test_ending_twice_is_ending_once(alice: FlaskClient, ready_session: int, runtime: Runtime) -> None:
    """The second one changes nothing and is no error."""
    answers = [alice.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER) for _ in range(2)]
    assert [(a.status_code, a.json["state"]) for a in answers] == [(200, "ending"), (200, "ending")]
    assert answers[1].json["end_reason"] == "ended by you"


def test_a_closed_session_is_never_revived(
    alice: FlaskClient, ready_session: int, runtime: Runtime, make_ready: Callable[[int], None]
) -> None:
    """By no late report."""
    alice.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER)
    with pytest.raises(WrongState):
        make_ready(ready_session)
    for path in ("extend", "tickets"):
        answer = alice.post(f"/api/v1/sessions/{ready_session}/{path}", json={})
        assert (answer.status_code, answer.json["code"]) == (409, "session-not-ready")
    with runtime.database.transaction() as db:
        service.finish(db, db.get_one(UserSession, ready_session))
    with runtime.database.transaction() as db, pytest.raises(WrongState):
        move(db, db.get_one(UserSession, ready_session), SessionState.READY, reason="late")
    assert alice.get(f"/api/v1/sessions/{ready_session}").json["state"] == "ended"
    assert [s["id"] for s in alice.get("/api/v1/sessions?state=ended").json] == [ready_session]
    assert alice.get("/api/v1/sessions").json == []


def test_a_lease_is_extended_up_to_its_longest(alice: FlaskClient, ready_session: int, runtime: Runtime) -> None:
    """And no further: the refusal says how much is left."""
    before = alice.get(f"/api/v1/sessions/{ready_session}").json["seconds_left"]
    longer = alice.post(f"/api/v1/sessions/{ready_session}/extend", json={"hours": 10}).json
    assert longer["seconds_left"] == pytest.approx(before + 36000, abs=30)
    refused = alice.post(f"/api/v1/sessions/{ready_session}/extend", json={"hours": 400})
    assert refused.status_code == 422
    longest = runtime.settings.leases.maximum_hours
    refused = alice.post(f"/api/v1/sessions/{ready_session}/extend", json={"hours": longest})
    assert (refused.json["code"], refused.json["hours_left"]) == ("lease-too-long", pytest.approx(110, abs=0.1))


def test_an_administrator_may_end_a_desktop_but_not_look_into_it(
    admin: FlaskClient, alice: FlaskClient, ready_session: int
) -> None:
    """The owner sees who ended it."""
    ticket = admin.post(f"/api/v1/sessions/{ready_session}/tickets", json={})
    assert (ticket.status_code, ticket.json["code"]) == (403, "forbidden")
    assert admin.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER).status_code == 200
    assert alice.get(f"/api/v1/sessions/{ready_session}").json["end_reason"] == "ended by an administrator"


def test_a_ticket_names_the_gateway_as_the_browser_reaches_it(alice: FlaskClient, ready_session: int) -> None:
    """By the very host name that the page was opened with."""
    path = f"/api/v1/sessions/{ready_session}/tickets"
    assert alice.post(path, json={}).json["url"].startswith("ws://localhost:6080/desktop?token=")
    bearer = {"Authorization": f"Bearer {alice.get_cookie('beamdesk').value}"}  # type: ignore[union-attr]
    other = alice.post(path, json={}, base_url="http://127.0.0.1:8080", headers=bearer)
    assert other.json["url"].startswith("ws://127.0.0.1:6080/desktop?token=")


def test_a_look_at_a_launch_asks_for_nothing_that_it_does_not_show(
    alice: FlaskClient, new_machines: NewMachines, runtime: Runtime
) -> None:
    """It is made eight times a second by everybody who launches: courses and leases that end are no part of it."""
    new_machines("light-ral", 1)
    session = alice.post("/api/v1/sessions", json=LIGHT).json["id"]
    with counting(runtime.database) as asked:
        assert alice.get(f"/fragments/launch/{session}").status_code == 200
    assert not [statement for statement in asked if "course" in statement]
    assert len([statement for statement in asked if statement.startswith("SELECT")]) <= 4


@pytest.mark.parametrize("path", ["/api/v1/admin/sessions", "/api/v1/admin/machines", "/admin/", "/"])
def test_a_list_costs_the_same_however_long_it_is(
    admin: FlaskClient, alice: FlaskClient, new_machines: NewMachines, runtime: Runtime, path: str
) -> None:
    """No query per line, and no call to a cloud."""
    new_machines("light-ral", 1)
    alice.post("/api/v1/sessions", json=LIGHT)
    with counting(runtime.database) as few:
        assert admin.get(path).status_code == 200
    new_machines("light-ral", 30)
    for _ in range(2):
        alice.post("/api/v1/sessions", json={**LIGHT, "another": True})
        admin.post("/api/v1/sessions", json={**LIGHT, "another": True})
    with counting(runtime.database) as many:
        assert admin.get(path).status_code == 200
    assert len(many) == len(few)


def test_the_history_comes_in_pages(alice: FlaskClient, new_machines: NewMachines, runtime: Runtime) -> None:
    """The newest first, each session once."""
    new_machines("light-ral", 5)
    for _ in range(5):
        id_ = alice.post("/api/v1/sessions", json=LIGHT).json["id"]
        alice.delete(f"/api/v1/sessions/{id_}", headers=HEADER)
        with runtime.database.transaction() as db:
            service.finish(db, db.get_one(UserSession, id_))
    first = [s["id"] for s in alice.get("/api/v1/sessions?state=ended&limit=3").json]
    rest = [s["id"] for s in alice.get(f"/api/v1/sessions?state=ended&limit=3&before={first[-1]}").json]
    assert first + rest == [5, 4, 3, 2, 1]
