"""Support joins with the owner's consent; an administrator without it, seen by the owner and kept for the audit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from broker.connections.models import Share
from broker.database import now
from broker.errors import WrongState
from broker.events import Event
from broker.identity import service as identity
from broker.identity.models import User
from broker.identity.rights import Role
from broker.runtime import Runtime
from broker.sessions import service
from broker.sessions.models import UserSession
from broker.sharing import support as joining
from broker.sharing.models import Answer, JoinRequest
from tests.integration.web.conftest import SignedIn
from tests.integration.web.test_rights import bearer

HEADER = {"X-Requested-With": "test"}
EMERGENCY = "the machine attacks another one"
WHY = {"reason": "your plot does not open"}


@pytest.fixture
def sue(app: APIFlask, runtime: Runtime) -> FlaskClient:
    """Of support."""
    identity.create_account(runtime, "sue", "Sue", "sue-secret", role=Role.SUPPORT)
    return bearer(app, identity.sign_in(runtime, "sue", "sue-secret")[0])


@pytest.fixture
def one(ready_session: int) -> str:
    """Alice's session."""
    return f"/api/v1/sessions/{ready_session}"


def asked(sue: FlaskClient, one: str) -> int:
    """Support asks; the question's id."""
    answer = sue.post(f"{one}/join-requests", json=WHY)
    assert answer.status_code == 201, answer.text
    return int(answer.json["id"])


def say(alice: FlaskClient, request: int, answer: str) -> Any:
    return alice.post(f"/api/v1/join-requests/{request}", json={"answer": answer})


@pytest.mark.parametrize(("answer", "control"), [("look", False), ("control", True)])
def test_the_owner_lets_support_in(
    alice: FlaskClient, sue: FlaskClient, one: str, runtime: Runtime, answer: str, control: bool
) -> None:
    """Asked, read, allowed; a share for an hour, and the consent is on record."""
    request = asked(sue, one)
    (question,) = alice.get("/api/v1/join-requests").json
    assert (question["full_name"], question["reason"]) == ("Sue", WHY["reason"])
    assert sue.get("/api/v1/shares").json == []
    share = say(alice, request, answer).json["share"]
    assert alice.get("/api/v1/join-requests").json == []
    (found,) = sue.get("/api/v1/shares").json
    assert (found["id"], found["control"], found["kind"]) == (share, control, "support")
    assert 3500 < found["seconds_left"] <= 3600
    assert sue.post(f"/api/v1/shares/{share}/tickets", headers=HEADER).status_code == 201
    assert sue.get(f"/api/v1/join-requests/{request}").json["answer"] == answer
    with runtime.database.reading() as db:
        actions = db.execute(select(Event.action, Event.actor).where(Event.kind == "join").order_by(Event.id)).all()
        row = db.get_one(JoinRequest, request)
    assert actions == [("join:asked", "sue"), (f"join:{answer}", "alice")]
    assert row.answered_at is not None


def test_a_refusal_opens_nothing(alice: FlaskClient, sue: FlaskClient, one: str) -> None:
    """And support may ask again."""
    request = asked(sue, one)
    assert say(alice, request, "refused").json["answer"] == "refused"
    assert sue.get("/api/v1/shares").json == alice.get(f"{one}/shares").json == []
    assert asked(sue, one) != request


def test_asking_twice_is_asking_once(alice: FlaskClient, sue: FlaskClient, one: str) -> None:
    """While nobody has answered."""
    assert asked(sue, one) == asked(sue, one)
    assert len(alice.get("/api/v1/join-requests").json) == 1


def test_an_answer_counts_once(alice: FlaskClient, sue: FlaskClient, one: str) -> None:
    """Another window's answer is told that it came too late."""
    request = asked(sue, one)
    say(alice, request, "refused")
    assert say(alice, request, "control").status_code == 409
    assert sue.get("/api/v1/shares").json == []


def test_of_two_answers_at_once_one_counts(each_runtime: Runtime) -> None:
    """On either database; and there is one share at most."""
    alice = identity.create_account(each_runtime, "alice", "Alice", "alice-secret")
    sue = identity.create_account(each_runtime, "sue", "Sue", "sue-secret", role=Role.SUPPORT)
    with each_runtime.database.transaction() as db:
        session = UserSession(user_id=alice.user_id, environment="light", wish={}, state="ready")
        db.add(session)
    request = joining.ask(each_runtime, sue, session.id, "why")

    def answer(given: Answer) -> bool:
        try:
            joining.answer(each_runtime, alice, request.id, given)
        except WrongState:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(answer, [Answer.LOOK, Answer.CONTROL] * 2)) == 1
    with each_runtime.database.reading() as db:
        assert len(db.scalars(select(Share)).all()) == 1


def test_a_question_that_is_too_old_cannot_be_answered(
    alice: FlaskClient, sue: FlaskClient, one: str, runtime: Runtime
) -> None:
    """Nobody is let in by a click on yesterday's page."""
    request = asked(sue, one)
    with runtime.database.transaction() as db:
        db.execute(update(JoinRequest).values(expires_at=now() - timedelta(seconds=1)))
    assert alice.get("/api/v1/join-requests").json == []
    assert say(alice, request, "look").status_code == 409
    assert sue.get("/api/v1/shares").json == []


def test_support_takes_the_question_back(alice: FlaskClient, sue: FlaskClient, one: str) -> None:
    """Then there is nothing to answer. Twice is once."""
    request = asked(sue, one)
    for _ in range(2):
        assert sue.delete(f"/api/v1/join-requests/{request}").json["answer"] == "taken-back"
    assert alice.get("/api/v1/join-requests").json == []
    assert say(alice, request, "look").status_code == 409


def test_either_side_ends_it(alice: FlaskClient, sue: FlaskClient, one: str) -> None:
    """The owner withdraws, support leaves."""
    for end in ("owner", "support"):
        share = say(alice, asked(sue, one), "look").json["share"]
        if end == "owner":
            assert alice.delete(f"{one}/shares/{share}", headers=HEADER).status_code == 204
        else:
            assert sue.delete(f"/api/v1/shares/{share}").status_code == 204
        assert sue.post(f"/api/v1/shares/{share}/tickets").status_code == 404


def test_only_the_owner_answers(alice: FlaskClient, sue: FlaskClient, signed_in: SignedIn, one: str) -> None:
    """Not support, not another user, not an administrator."""
    request = asked(sue, one)
    for other in (sue, signed_in("eve"), signed_in("ada", admin=True)):
        assert say(other, request, "control").status_code == 404
    assert len(alice.get("/api/v1/join-requests").json) == 1


def test_users_and_operators_neither_ask_nor_break_glass(
    app: APIFlask, runtime: Runtime, signed_in: SignedIn, sue: FlaskClient, one: str
) -> None:
    """And support does not break glass."""
    identity.create_account(runtime, "oli", "Oli", "oli-secret", role=Role.OPERATOR)
    oli = bearer(app, identity.sign_in(runtime, "oli", "oli-secret")[0])
    for other in (signed_in("eve"), oli):
        assert other.post(f"{one}/join-requests", json=WHY).status_code == 403
        assert other.post(f"{one}/break-glass", json=WHY).status_code == 403
    assert sue.post(f"{one}/break-glass", json=WHY).status_code == 403


def test_who_is_of_support_no_more_does_not_come_in_any_more(
    alice: FlaskClient, sue: FlaskClient, one: str, runtime: Runtime
) -> None:
    """Though the owner's hour is not over."""
    share = say(alice, asked(sue, one), "control").json["share"]
    with runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "sue").values(role=Role.USER))
    assert sue.post(f"/api/v1/shares/{share}/tickets").status_code == 403


def test_an_administrator_breaks_glass(
    alice: FlaskClient, admin: FlaskClient, one: str, ready_session: int, runtime: Runtime
) -> None:
    """In at once; the owner sees who and why, then and in the history, and may end it; the audit log has it."""
    share = admin.post(f"{one}/break-glass", json={"reason": EMERGENCY, "control": True}).json
    assert admin.post(f"/api/v1/shares/{share['id']}/tickets", headers=HEADER).status_code == 201
    (guest,) = alice.get(f"{one}/shares").json
    assert (guest["kind"], guest["full_name"], guest["reason"]) == ("break-glass", "Ada", EMERGENCY)
    page = alice.get("/").text
    assert "an administrator," in page
    assert EMERGENCY in page
    with runtime.database.reading() as db:
        (row,) = db.scalars(select(Event).where(Event.action == "share:break-glass")).all()
    assert (row.actor, row.detail["reason"]) == ("ada", EMERGENCY)
    assert alice.delete(f"{one}/shares/{share['id']}", headers=HEADER).status_code == 204
    assert admin.post(f"/api/v1/shares/{share['id']}/tickets", headers=HEADER).status_code == 404
    alice.delete(one, headers=HEADER)
    with runtime.database.transaction() as db:
        service.finish(db, db.get_one(UserSession, ready_session))
    history = alice.get("/history").text
    assert "Ada, an administrator" in history
    assert EMERGENCY in history


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 301}, {"control": True}])
def test_breaking_glass_needs_a_reason(admin: FlaskClient, one: str, body: dict[str, Any]) -> None:
    """Some words at least."""
    assert admin.post(f"{one}/break-glass", json=body).status_code == 422


def test_no_api_token_breaks_glass(app: APIFlask, admin: FlaskClient, one: str) -> None:
    """It cannot be made with that right, and an administrator's token for all else does not have it."""
    assert admin.post("/api/v1/me/tokens", json={"name": "x", "rights": ["break-glass"]}).status_code == 422
    rights = ["launch", "connect", "look", "join", "operate", "audit"]
    token = admin.post("/api/v1/me/tokens", json={"name": "x", "rights": rights}).json["token"]
    assert bearer(app, token).post(f"{one}/break-glass", json=WHY).status_code == 403


def test_nobody_joins_their_own_session_as_support(alice: FlaskClient, sue: FlaskClient, runtime: Runtime) -> None:
    """They open it."""
    with runtime.database.transaction() as db:
        user = db.scalars(select(User).where(User.name == "sue")).one()
        session = UserSession(user_id=user.id, environment="light", wish={}, state="ready")
        db.add(session)
    assert sue.post(f"/api/v1/sessions/{session.id}/join-requests", json=WHY).status_code == 422


def test_a_full_house_does_not_keep_an_administrator_out(alice: FlaskClient, admin: FlaskClient, one: str) -> None:
    """However many links there are."""
    while alice.post(f"{one}/shares", json={}).status_code == 201:
        pass
    assert admin.post(f"{one}/break-glass", json=WHY).status_code == 201
