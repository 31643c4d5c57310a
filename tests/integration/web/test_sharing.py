"""Sharing by the API: who may, with whom, how long, and what guests never get."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from broker.connections.models import Share, Ticket
from broker.database import now
from broker.errors import NotFound, OverQuota
from broker.events import Event
from broker.identity import service as identity
from broker.identity.rights import Role
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from broker.sharing import rules
from broker.sharing import service as sharing
from tests.integration.web.conftest import SignedIn

HEADER = {"X-Requested-With": "test"}


@pytest.fixture
def shares(ready_session: int) -> str:
    """Where Alice's session is shared."""
    return f"/api/v1/sessions/{ready_session}/shares"


@pytest.fixture
def bob(signed_in: SignedIn) -> FlaskClient:
    return signed_in("bob")


def token_of(answer: Any) -> str:
    """The secret of the link that was just made."""
    assert answer.status_code == 201, answer.text
    return str(answer.json["link"]).rsplit("/", 1)[1]


def join(guest: FlaskClient, token: str) -> Any:
    return guest.post("/api/v1/shares/join", json={"token": token})


def ticket(guest: FlaskClient, share: int) -> Any:
    return guest.post(f"/api/v1/shares/{share}/tickets", headers=HEADER)


def ends_in(share: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(share["expires_at"]) - now()


def test_a_named_user_finds_it_and_gets_tickets(alice: FlaskClient, bob: FlaskClient, shares: str) -> None:
    """Its title, its owner, how and how long; and the owner sees the guest."""
    made = alice.post(shares, json={"user": "bob", "control": False, "hours": 2}).json
    assert (made["link"], made["share"]["user"], made["share"]["kind"]) == (None, "bob", "named")
    (found,) = bob.get("/api/v1/shares").json
    assert (found["title"], found["owner"], found["control"], found["over"]) == ("Light desktop", "Alice", False, None)
    assert 7100 < found["seconds_left"] <= 7200
    answer = ticket(bob, found["id"])
    assert answer.status_code == 201
    assert "/desktop?token=" in answer.json["url"]
    assert [guest["full_name"] for guest in alice.get(shares).json] == ["Bob"]


def test_a_share_never_outlives_the_lease(alice: FlaskClient, bob: FlaskClient, shares: str) -> None:
    """However long it is wished for."""
    share = alice.post(shares, json={"user": "bob", "hours": 168}).json["share"]
    assert timedelta(hours=47) < ends_in(share) <= timedelta(hours=48)


@pytest.mark.parametrize("hours", [0, -1, 169, 1e9])
def test_nonsense_times_are_refused(alice: FlaskClient, bob: FlaskClient, shares: str, hours: float) -> None:
    """And nothing is shared."""
    assert alice.post(shares, json={"user": "bob", "hours": hours}).status_code == 422
    assert alice.get(shares).json == []


def test_the_same_guest_again_is_the_same_share_with_another_end_and_control(
    alice: FlaskClient, bob: FlaskClient, shares: str
) -> None:
    """Nobody is listed twice."""
    first = alice.post(shares, json={"user": "bob"}).json["share"]
    second = alice.post(shares, json={"user": "bob", "control": True, "hours": 10}).json["share"]
    assert second["id"] == first["id"]
    assert second["control"] is True
    assert ends_in(second) > timedelta(hours=9)


def test_a_link_makes_each_visitor_a_guest_of_their_own(
    alice: FlaskClient, signed_in: SignedIn, shares: str, runtime: Runtime
) -> None:
    """Under the link's end and control; joining twice is joining once; only a hash of the secret is kept."""
    token = token_of(alice.post(shares, json={"control": True, "hours": 3}))
    bob, carol = signed_in("bob"), signed_in("carol")
    first = join(bob, token).json
    assert join(bob, token).json["id"] == first["id"]
    assert join(carol, token).json["id"] != first["id"]
    assert first["control"] is True
    listed = {guest["user"]: guest for guest in alice.get(shares).json}
    assert set(listed) == {None, "bob", "carol"}
    assert listed["bob"]["kind"] == "joined"
    assert listed["bob"]["expires_at"] == listed[None]["expires_at"]
    with runtime.database.reading() as db:
        assert token not in str(db.execute(select(Share.__table__)).all())


def test_whom_the_owner_withdrew_it_from_does_not_come_back_by_the_link(
    alice: FlaskClient, signed_in: SignedIn, shares: str
) -> None:
    """Who left by themselves may; and others still come."""
    token = token_of(alice.post(shares, json={}))
    bob, carol = signed_in("bob"), signed_in("carol")
    bobs = join(bob, token).json["id"]
    assert alice.delete(f"{shares}/{bobs}", headers=HEADER).status_code == 204
    assert join(bob, token).status_code == 403
    carols = join(carol, token).json["id"]
    assert carol.delete(f"/api/v1/shares/{carols}", headers=HEADER).status_code == 204
    assert carol.get(f"/api/v1/shares/{carols}").json["over"] == "You have left it."
    assert join(carol, token).status_code == 201


def test_a_link_is_withdrawn_with_all_who_came_by_it(alice: FlaskClient, bob: FlaskClient, shares: str) -> None:
    """Nobody comes by it any more."""
    made = alice.post(shares, json={})
    share = join(bob, token_of(made)).json["id"]
    for _ in range(2):
        assert alice.delete(f"{shares}/{made.json['share']['id']}", headers=HEADER).status_code == 204
    assert alice.get(shares).json == []
    assert ticket(bob, share).status_code == 404
    assert join(bob, token_of(made)).status_code == 404
    assert bob.get(f"/api/v1/shares/{share}").json["over"] == "Alice shares it with you no longer."
    assert bob.get("/api/v1/shares").json == []


def test_all_are_withdrawn_at_once(alice: FlaskClient, signed_in: SignedIn, shares: str) -> None:
    """Named guests, links, and who came by them. Twice is once."""
    bob, carol = signed_in("bob"), signed_in("carol")
    alice.post(shares, json={"user": "bob"})
    join(carol, token_of(alice.post(shares, json={})))
    for _ in range(2):
        assert alice.delete(shares, headers=HEADER).status_code == 204
    assert alice.get(shares).json == []
    assert bob.get("/api/v1/shares").json == carol.get("/api/v1/shares").json == []


def test_a_share_ends_by_itself(alice: FlaskClient, bob: FlaskClient, shares: str, runtime: Runtime) -> None:
    """The page that was open says why."""
    share = alice.post(shares, json={"user": "bob"}).json["share"]["id"]
    with runtime.database.transaction() as db:
        db.execute(update(Share).values(expires_at=now() - timedelta(seconds=1)))
    assert bob.get(f"/api/v1/shares/{share}").json["over"] == "Alice shared it for a time, which is over."
    assert ticket(bob, share).status_code == 404
    assert alice.get(shares).json == bob.get("/api/v1/shares").json == []


def test_a_session_that_ends_ends_its_shares(
    alice: FlaskClient, bob: FlaskClient, shares: str, ready_session: int
) -> None:
    """A new one is not shared by itself."""
    token = token_of(alice.post(shares, json={}))
    share = join(bob, token).json["id"]
    alice.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER)
    assert ticket(bob, share).status_code == 409
    assert bob.get(f"/api/v1/shares/{share}").json["over"] == "Alice has ended the desktop, or its time is over."
    assert join(bob, token).status_code == 404
    assert alice.post(shares, json={"user": "bob"}).status_code == 409


def test_a_guest_gets_the_browser_and_nothing_else(
    alice: FlaskClient, bob: FlaskClient, shares: str, ready_session: int
) -> None:
    """With full control too: no file, no extending, no ending, no sharing on, no look at the session."""
    share = alice.post(shares, json={"user": "bob", "control": True}).json["share"]["id"]
    one = f"/api/v1/sessions/{ready_session}"
    for method, path in (
        ("GET", one),
        ("DELETE", one),
        ("GET", f"{one}/connection.rdp"),
        ("GET", f"{one}/connection.conf"),
        ("POST", f"{one}/extend"),
        ("POST", f"{one}/stay"),
        ("POST", f"{one}/tickets"),
        ("GET", f"{one}/shares"),
        ("POST", f"{one}/shares"),
        ("DELETE", f"{one}/shares"),
        ("DELETE", f"{one}/shares/{share}"),
        ("GET", f"/desktop/{ready_session}"),
        ("GET", f"/fragments/sessions/{ready_session}/guests"),
        ("GET", f"/fragments/launch/{ready_session}"),
    ):
        answer = bob.open(path, method=method, json={} if method == "POST" else None, headers=HEADER)
        assert answer.status_code == 404, (method, path, answer.text)
    assert set(bob.get(f"/api/v1/shares/{share}").json) == {
        *("id", "kind", "title", "owner", "control", "expires_at", "seconds_left", "over", "policy", "not_allowed")
    }
    assert bob.get("/api/v1/sessions").json == []


def test_others_shares_are_nobodys(alice: FlaskClient, signed_in: SignedIn, shares: str) -> None:
    """As if there were none; an operator, too, neither sees nor opens nor withdraws them."""
    signed_in("bob")
    share = alice.post(shares, json={"user": "bob"}).json["share"]["id"]
    for other, status in ((signed_in("eve"), 404), (signed_in("ada", admin=True), 403)):
        assert other.get(f"/api/v1/shares/{share}").status_code == 404
        assert ticket(other, share).status_code == 404
        assert other.delete(f"/api/v1/shares/{share}", headers=HEADER).status_code == 404
        assert other.get(f"/shared/{share}").status_code == 404
        for answer in (
            other.get(shares),
            other.post(shares, json={"user": "eve"}),
            other.delete(f"{shares}/{share}", headers=HEADER),
            other.delete(shares, headers=HEADER),
        ):
            assert answer.status_code == status, answer.text
    assert len(alice.get(shares).json) == 1


def test_a_share_of_another_session_is_not_withdrawn_by_mistake(
    alice: FlaskClient, bob: FlaskClient, shares: str
) -> None:
    """Nor one that does not exist."""
    alice.post(shares, json={"user": "bob"})
    assert alice.delete(f"{shares}/999", headers=HEADER).status_code == 404
    assert len(alice.get(shares).json) == 1


@pytest.mark.parametrize(("user", "status"), [("nobody", 404), ("alice", 422), ("", 422), ("robot", 404)])
def test_who_cannot_be_a_guest(alice: FlaskClient, shares: str, runtime: Runtime, user: str, status: int) -> None:
    """Nobody, oneself, and programs."""
    identity.create_account(runtime, "robot", "Robot", "robot-secret", role=Role.SERVICE)
    assert alice.post(shares, json={"user": user}).status_code == status


def test_ones_own_link_opens_ones_own_desktop(alice: FlaskClient, shares: str, ready_session: int) -> None:
    """And makes nobody a guest of themselves."""
    token = token_of(alice.post(shares, json={}))
    assert join(alice, token).status_code == 409
    assert alice.get(f"/share/{token}").headers["Location"] == f"/desktop/{ready_session}"


@pytest.mark.parametrize("token", ["x", "0" * 64, "' OR 1=1 --", "☃"])
def test_a_made_up_link_is_refused(alice: FlaskClient, token: str) -> None:
    """Whatever stands where a secret should."""
    assert join(alice, token).status_code == 404


def test_there_is_an_end_of_how_many(alice: FlaskClient, shares: str) -> None:
    """And withdrawing makes room."""
    for _ in range(rules.MOST):
        assert alice.post(shares, json={}).status_code == 201
    answer = alice.post(shares, json={})
    assert (answer.status_code, answer.json["code"], answer.json["limit"]) == (429, "over-quota", rules.MOST)
    alice.delete(shares, headers=HEADER)
    assert alice.post(shares, json={}).status_code == 201


def test_a_link_leads_through_the_sign_in(app: APIFlask, alice: FlaskClient, shares: str) -> None:
    """And back to itself."""
    path = f"/share/{token_of(alice.post(shares, json={}))}"
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/sign-in?next={path}")


def test_it_is_in_the_audit_log(alice: FlaskClient, bob: FlaskClient, shares: str, runtime: Runtime) -> None:
    """Who shared what with whom, who joined, who withdrew; never a link's secret."""
    alice.post(shares, json={"user": "bob", "control": True})
    token = token_of(alice.post(shares, json={}))
    join(bob, token)
    alice.delete(shares, headers=HEADER)
    with runtime.database.reading() as db:
        rows = db.execute(
            select(Event.action, Event.actor, Event.detail).where(Event.kind == "share").order_by(Event.id)
        ).all()
    assert [(action, actor) for action, actor, _ in rows][:3] == [
        ("share:made", "alice"),
        ("share:link", "alice"),
        ("share:joined", "bob"),
    ]
    assert [action for action, _, _ in rows[3:]] == ["share:withdrawn"] * 3
    assert rows[0][2]["guest"] == "bob"
    assert rows[0][2]["control"] is True
    assert token not in str(rows)


def test_a_guests_ticket_is_bound_to_the_share(
    alice: FlaskClient, bob: FlaskClient, shares: str, runtime: Runtime
) -> None:
    """And to the guest."""
    share = alice.post(shares, json={"user": "bob"}).json["share"]["id"]
    ticket(bob, share)
    with runtime.database.reading() as db:
        row = db.scalars(select(Ticket)).one()
    assert (row.share_id, row.user_id) == (share, identity.account(runtime, "bob").user_id)


@pytest.fixture
def shared_session(each_runtime: Runtime, make_person: Callable[[str], Person]) -> tuple[Person, int]:
    """Alice's ready session, on either database."""
    alice = make_person("alice")
    with each_runtime.database.transaction() as db:
        session = UserSession(
            user_id=alice.user_id, environment="light", wish={}, state="ready", expires_at=now() + timedelta(hours=5)
        )
        db.add(session)
        db.flush()
        return alice, session.id


@pytest.fixture
def make_person(each_runtime: Runtime) -> Callable[[str], Person]:
    def make(name: str) -> Person:
        return identity.create_account(each_runtime, name, name.title(), f"{name}-secret")

    return make


def test_of_many_who_join_at_once_each_is_one_guest(
    each_runtime: Runtime, shared_session: tuple[Person, int], make_person: Callable[[str], Person]
) -> None:
    """Twice the same person at the same moment is one share; and no more come in than there is room for."""
    alice, session = shared_session
    _, token = sharing.by_link(each_runtime, alice, session, control=False, lasts=timedelta(hours=1))
    people = [make_person(f"guest{number}") for number in range(rules.MOST + 3)]

    def come(person: Person) -> bool:
        try:
            sharing.join(each_runtime, person, token)
        except OverQuota:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        came = sum(threads.map(come, [*people[:3], *people[:3], *people[3:]]))
    with each_runtime.database.reading() as db:
        rows = db.scalar(select(func.count()).select_from(Share).where(Share.link_id.is_not(None)))
    assert rows == rules.MOST - 1
    assert came == rules.MOST - 1 + 3


def test_who_joins_while_the_link_is_withdrawn_is_withdrawn_or_refused(
    each_runtime: Runtime, shared_session: tuple[Person, int], make_person: Callable[[str], Person]
) -> None:
    """In no order does a guest stay behind."""
    alice, session = shared_session
    guests = [make_person(f"guest{number}") for number in range(6)]
    link, token = sharing.by_link(each_runtime, alice, session, control=False, lasts=timedelta(hours=1))

    def act(number: int) -> None:
        if number == 3:
            sharing.withdraw(each_runtime, alice, session, link.id)
            return
        try:
            sharing.join(each_runtime, guests[number % 6], token)
        except NotFound:
            return

    with ThreadPoolExecutor(7) as threads:
        list(threads.map(act, range(7)))
    with each_runtime.database.reading() as db:
        assert not sharing.standing(db, session)
