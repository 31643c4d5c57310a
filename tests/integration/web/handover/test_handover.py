"""A session is handed over: who may offer it to whom, who may accept when, and what is over from then on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from broker.connections.models import Certificate, Share, Ticket, share_stands
from broker.database import now
from broker.errors import BrokerError, NotFound, OverQuota, WrongState
from broker.events import Event
from broker.identity import service as identity
from broker.identity.models import User
from broker.identity.service import Person
from broker.pools.models import Reservation
from broker.runtime import Runtime
from broker.sessions import certificates, service
from broker.sessions.models import SessionState, UserSession
from broker.sharing import handover, support
from broker.sharing import service as sharing
from broker.sharing.models import Handover
from tests.conftest import NewPerson
from tests.integration.web.conftest import SignedIn
from tests.integration.web.handover.conftest import HEADER, TEAM, expired, offer, offered, say, sessions, withdraw

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFPWSyoAqNCx1NqLlEWyPzkYiZ0rGF1nJ2dcwlFKR0bB"


def test_who_accepts_is_the_owner_and_the_giver_may_nothing(
    alice: FlaskClient, bob: FlaskClient, one: int, runtime: Runtime
) -> None:
    """By every address of the session; lists, limits and history follow, and the audit log has both names."""
    with runtime.database.transaction() as db:
        db.execute(update(UserSession).values(idle_warned_at=now(), warned_minutes=5.0))
    found = offered(alice, one)
    assert sessions(bob) == []
    accepted = say(bob, found).json
    assert (accepted["state"], accepted["giver"], accepted["receiver"]) == ("accepted", "alice", "bob")
    assert (sessions(alice), sessions(bob)) == ([], [one])
    card = bob.get(f"/api/v1/sessions/{one}").json
    assert (card["user"], card["account"], card["group"]) == ("bob", "alice", "rb123")
    tries = [("get", ""), ("delete", ""), ("post", "/extend"), ("post", "/stay"), ("post", "/tickets")]
    tries += [("get", "/connection.rdp"), ("get", "/shares"), ("get", "/files"), ("post", "/handovers")]
    for method, path in tries:
        body = {"json": {"user": "alice"} if path == "/handovers" else {}} if method == "post" else {}
        answer = getattr(alice, method)(f"/api/v1/sessions/{one}{path}", headers=HEADER, **body)
        assert (answer.status_code, "handed session" in answer.json["detail"]) == (404, True), path
    assert [who.get(f"/api/v1/sessions/{one}/recordings").status_code for who in (alice, bob)] == [404, 200]
    with runtime.database.reading() as db:
        session = db.get_one(UserSession, one)
        assert (session.idle_warned_at, session.warned_minutes, session.last_sign) == (None, None, "its handover")
    assert bob.post(f"/api/v1/sessions/{one}/extend", json={"hours": 1}).status_code == 200
    assert "Handed over" in alice.get("/history").text
    assert "Handed over" not in bob.get("/history").text
    with runtime.database.reading() as db:
        rows = db.execute(
            select(Event.action, Event.actor, Event.detail).where(Event.action.contains("handover"))
        ).all()
    assert [row[:2] for row in rows] == [
        ("handover:offered", "alice"),
        ("handover:accepted", "bob"),
        ("session:handover", "bob"),
    ]
    assert all((row[2]["giver"], row[2]["receiver"]) == ("alice", "bob") for row in rows)


def test_what_was_issued_before_opens_nothing_even_if_it_comes_back(
    alice: FlaskClient, bob: FlaskClient, one: int, runtime: Runtime
) -> None:
    """Tickets, certificates, shares and links of the giver's; also where the giver gets the session back."""
    for path, body in [("/tickets", {}), ("/shares", {"user": "bob"}), ("/shares", {})]:
        assert alice.post(f"/api/v1/sessions/{one}{path}", json=body).status_code == 201
    assert alice.get(f"/api/v1/sessions/{one}/connection.rdp").status_code == 200
    issued = alice.post(f"/api/v1/sessions/{one}/certificates", json={"public_key": KEY}).json
    live = lambda: [each.serial for each in _live(runtime)]  # noqa: E731
    assert live() == [issued["serial"]]
    say(bob, offered(alice, one))
    assert live() == []
    theirs = bob.post(f"/api/v1/sessions/{one}/certificates", json={"public_key": KEY}).json
    assert live() == [theirs["serial"]]
    assert "    User alice\n" in theirs["config"]
    assert "username:s:alice" in bob.get(f"/api/v1/sessions/{one}/connection.rdp").text
    say(alice, offered(bob, one, "alice"))
    assert live() == []
    with runtime.database.reading() as db:
        assert all(share.withdrawn_at for share in db.scalars(select(Share)))
        assert all(ticket.used_at for ticket in db.scalars(select(Ticket)))
        assert all(row.withdrawn_at for row in db.scalars(select(Certificate)))
    assert alice.get(f"/api/v1/sessions/{one}").json["account"] == "alice"


def _live(runtime: Runtime) -> Any:
    with runtime.database.reading() as db:
        return certificates.live(db, runtime.settings)


def test_a_certificate_that_is_written_as_the_session_changes_hands_opens_nothing(
    alice: FlaskClient, bob: FlaskClient, one: int, runtime: Runtime
) -> None:
    """It was asked for by the owner of a moment before."""
    say(bob, offered(alice, one))
    alice_ = identity.sign_in(runtime, "alice", "alice-secret")[1]
    with runtime.database.transaction() as db:
        late = {"session_id": one, "user_id": alice_.user_id, "sign_in_id": alice_.sign_in_id, "fingerprint": "x"}
        row = Certificate(**late, expires_at=now() + timedelta(hours=1))
        db.add(row)
    assert _live(runtime) == []
    with runtime.database.transaction() as db, pytest.raises(BrokerError, match="was handed over"):
        certificates.used(db, runtime.settings, row.id)


def nobodys(db: Any, session: UserSession) -> None:
    session.group = ""


def queued(db: Any, session: UserSession) -> None:
    session.state = SessionState.ENDING


def secret(db: Any, session: UserSession) -> None:
    session.environment = "secret"


def seated(db: Any, session: UserSession) -> None:
    times = {"starts_at": now(), "ends_at": now() + timedelta(hours=1)}
    seat = Reservation(title="Plots", environment="light", group="", seats=1, pools={}, made_by="ada", **times)
    db.add(seat)
    db.flush()
    session.reservation_id = seat.id


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        (None, "bob", (201, "")),
        (None, "carol", (403, "not a member of rb123")),
        (None, "alice", (422, "has this session already")),
        (None, "nobody", (404, "no user")),
        (None, "catalogue", (404, "no user")),
        (nobodys, "bob", (403, "no group")),
        (queued, "bob", (409, "only a ready one")),
        (secret, "bob", (403, "may not launch Secret")),
        (seated, "bob", (403, "a seat of Plots")),
    ],
)
def test_it_is_offered_to_members_who_could_have_launched_it_and_to_nobody_else(
    alice: FlaskClient,
    bob: FlaskClient,
    one: int,
    new_person: NewPerson,
    runtime: Runtime,
    change: Callable[[Any, UserSession], None] | None,
    to: str,
    expected: tuple[int, str],
) -> None:
    """A session with an experiment, while it is ready; both at the offer and when it is accepted."""
    new_person("carol", groups=("rb999",))
    identity.create_account(runtime, "catalogue", "C", "catalogue-secret", role=identity.Role.SERVICE, groups=TEAM)
    before = offered(alice, one) if change else 0
    with runtime.database.transaction() as db:
        if change:
            change(db, db.get_one(UserSession, one))
    answer = offer(alice, one, to)
    assert (answer.status_code, expected[1] in answer.json.get("detail", "")) == (expected[0], True), answer.text
    if before:
        assert say(bob, before).status_code == expected[0]
        assert bob.get("/api/v1/sessions").json == []


def left(alice: FlaskClient, bob: FlaskClient, found: int, runtime: Runtime) -> None:
    with runtime.database.transaction() as db:
        db.execute(update(User).where(User.name == "bob").values(groups=[]))


def full(alice: FlaskClient, bob: FlaskClient, found: int, runtime: Runtime) -> None:
    for _ in range(runtime.settings.limits.sessions_per_user):
        assert bob.post("/api/v1/sessions", json={"environment": "light", "another": True}).status_code == 201


@pytest.mark.parametrize(
    ("meanwhile", "status", "state"),
    [
        (lambda alice, bob, found, _: withdraw(alice, found), 409, "withdrawn"),
        (lambda alice, bob, found, _: say(bob, found, "refused"), 409, "refused"),
        (lambda alice, *_: alice.delete(f"/api/v1/sessions/{sessions(alice)[0]}", headers=HEADER), 409, "over"),
        (expired, 409, "over"),
        (left, 403, "open"),
        (full, 429, "open"),
    ],
    ids=["withdrawn", "refused", "ended", "too old", "no member any more", "no room"],
)
def test_an_offer_that_is_over_gives_nothing(
    alice: FlaskClient,
    bob: FlaskClient,
    one: int,
    runtime: Runtime,
    meanwhile: Callable[..., object],
    status: int,
    state: str,
) -> None:
    """However it ended; and the session stays the giver's, with all that was issued. What nobody answered the manager
    closes, once."""
    found = offered(alice, one)
    assert 890 < bob.get("/api/v1/handovers").json[0]["seconds_left"] <= 900
    meanwhile(alice, bob, found, runtime)
    for _ in range(2):
        assert say(bob, found).status_code == status
        assert alice.get("/api/v1/handovers").json[0]["state"] == state
        handover.close_over(runtime)
    with runtime.database.reading() as db:
        closed = db.scalars(select(Event.actor).where(Event.action == "handover:over")).all()
    assert closed == (["system"] if state == "over" else [])
    assert alice.get(f"/api/v1/sessions/{one}").json["user"] == "alice"


def test_nobody_else_answers_or_sees_an_offer_and_each_answer_is_one(
    alice: FlaskClient, bob: FlaskClient, one: int, signed_in: SignedIn
) -> None:
    """Not the giver, not another member; twice is once; one offer at a time, which the same again lets last anew.

    Handed on, it stays in the account of the first one, who can read of it.
    """
    eve = signed_in("eve", groups=TEAM)
    found = offered(alice, one)
    assert (offered(alice, one), offer(alice, one, "eve").status_code) == (found, 409)
    assert {say(eve, found).status_code, say(alice, found).status_code, withdraw(eve, found).status_code} == {404}
    assert withdraw(bob, found).status_code == 404
    assert offer(eve, one).status_code == 404
    assert eve.get("/api/v1/handovers").json == []
    for _ in range(2):
        assert withdraw(alice, found).json["state"] == "withdrawn"
    second = offered(alice, one)
    assert [say(bob, second).json["state"] for _ in range(2)] == ["accepted"] * 2
    assert say(bob, second, "refused").status_code == withdraw(alice, second).status_code == 409
    assert say(eve, offered(bob, one, "eve")).status_code == 200
    assert "from Bob to Eve (eve)" in alice.get("/history").text
    assert [eve.get(f"/api/v1/sessions/{one}").json[key] for key in ("user", "account")] == ["eve", "alice"]


def test_the_stricter_policy_of_owner_and_account_holds(
    alice: FlaskClient, bob: FlaskClient, one: int, runtime: Runtime, new_person: NewPerson, signed_in: SignedIn
) -> None:
    """What the giver's account may not do, the receiver may not do with it; guests of the receiver's neither."""
    found = offered(alice, one)
    new_person("alice", groups=(*TEAM, "nothing-out"))
    (told,) = bob.get("/api/v1/handovers").json
    assert "Taking files out is not allowed here." in told["terms"]
    assert "Taking files out is not allowed here." not in alice.get("/api/v1/handovers").json[0]["terms"]
    say(bob, found)
    new_person("bob", groups=(*TEAM, "nothing-in"))
    policy = bob.get(f"/api/v1/sessions/{one}").json["policy"]
    assert not any(policy.values())
    refused = bob.post(f"/api/v1/sessions/{one}/certificates", json={"public_key": KEY})
    assert refused.json["code"] == "policy-forbids"
    new_person("carol")
    bob.post(f"/api/v1/sessions/{one}/shares", json={"user": "carol"})
    (shared,) = signed_in("carol").get("/api/v1/shares").json
    assert not any(shared["policy"].values())
    assert service.desktop(runtime, _person(runtime, "bob"), one).policy.files_out is False


def _person(runtime: Runtime, name: str) -> Person:
    return identity.account(runtime, name)


def test_an_administrator_hands_over_for_somebody_who_has_left_and_the_owner_is_told(
    alice: FlaskClient, bob: FlaskClient, one: int, signed_in: SignedIn, runtime: Runtime
) -> None:
    """For a reason, never to themselves, and the owner may withdraw it; support may not. What support asks is asked of
    the new owner."""
    admin = signed_in("ada", admin=True, groups=TEAM)
    identity.create_account(runtime, "sue", "Sue", "bob-secret", role=identity.Role.SUPPORT, groups=TEAM)
    assert offer(admin, one).status_code == 422
    assert offer(admin, one, "ada", reason="I want it").status_code == 403
    found = offered(admin, one, reason="She is on holiday")
    page = alice.get("/").text
    assert "Ada, an administrator, offers" in page
    assert "She is on holiday" in page
    assert withdraw(alice, found).status_code == 200
    support.ask(runtime, _person(runtime, "sue"), one, "You wrote that it hangs.")
    say(bob, offered(admin, one, reason="She is on holiday"))
    assert [len(who.get("/api/v1/join-requests").json) for who in (alice, bob)] == [0, 1]
    assert "by Ada, an administrator: “She is on holiday”" in alice.get("/history").text
    with pytest.raises(BrokerError, match="BREAK_GLASS"):
        handover.offer(runtime, _person(runtime, "sue"), one, "alice", "because")


def test_of_two_at_once_one_counts(each_runtime: Runtime) -> None:
    """Two offers; then accepting twice, withdrawing, sharing and ending: on either database it has one owner."""
    alice, bob, carol = (
        identity.create_account(each_runtime, name, name.title(), f"{name}-secret", groups=TEAM)
        for name in ("alice", "bob", "carol")
    )
    for _ in range(5):
        with each_runtime.database.transaction() as db:
            db.execute(update(UserSession).values(state=SessionState.ENDED))
            session = UserSession(user_id=alice.user_id, environment="light", wish={}, state="ready", group="rb123")
            db.add(session)
        give = partial(handover.offer, each_runtime, alice, session.id)
        made = [found for found in _at_once(*(partial(give, name) for name in ("bob", "carol") * 2)) if found]
        assert len({found.id for found in made}) == 1
        receiver = bob if made[0].receiver_id == bob.user_id else carol
        accept = partial(handover.accept, each_runtime, receiver, made[0].id)
        leave = partial(handover.withdraw, each_runtime, alice, made[0].id)
        end = partial(service.end, each_runtime, alice, session.id)
        link = partial(sharing.by_link, each_runtime, alice, session.id, control=True, lasts=timedelta(hours=1))
        close = partial(handover.close_over, each_runtime)
        accepted = any(_at_once(accept, accept, leave, end, link, close)[:2])
        with each_runtime.database.reading() as db:
            standing = db.scalars(select(Share).where(Share.session_id == session.id, share_stands())).all()
            assert not (accepted and standing)
            row, answer = db.get_one(UserSession, session.id), db.get_one(Handover, made[0].id)
        assert (answer.outcome == "accepted") == accepted == (row.user_id == receiver.user_id)
        assert row.state == (SessionState.READY if accepted else SessionState.ENDING)
    with each_runtime.database.transaction() as db:
        db.execute(update(UserSession).values(state=SessionState.ENDED))
        whose = [*[bob] * (each_runtime.settings.limits.sessions_per_user - 1), alice, alice]
        ready = {"environment": "light", "wish": {}, "state": "ready", "group": "rb123"}
        rows = [UserSession(user_id=person.user_id, **ready) for person in whose]
        db.add_all(rows)
    offers = [handover.offer(each_runtime, alice, row.id, "bob").id for row in rows[-2:]]
    done = _at_once(*(partial(handover.accept, each_runtime, bob, offer) for offer in offers))
    assert [bool(one) for one in done].count(True) == 1, "bob has room for one"


def _at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """What each gives, or None where it came too late."""

    def result(job: Callable[[], Any]) -> Any:
        with suppress(NotFound, OverQuota, WrongState):
            return job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(result, jobs))
