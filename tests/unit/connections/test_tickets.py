"""A ticket opens one connection, once, soon, for the very sign-in that it was issued to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

import broker.pools.models  # noqa: F401 - its tables, which sessions point to
from broker.connections import tickets
from broker.connections.models import Ticket, Way
from broker.database import now
from broker.errors import TicketRefused
from broker.identity.models import SignIn, User
from broker.identity.service import Person, begin_sign_in
from broker.runtime import Runtime
from broker.sessions.models import UserSession


def signed_in(runtime: Runtime, name: str) -> Person:
    """A new account, signed in."""
    with runtime.database.transaction() as db:
        user = User(name=name, full_name=name, password_hash="")
        db.add(user)
    return begin_sign_in(runtime, user)[1]


def issued(runtime: Runtime, person: Person, way: Way = Way.BROWSER) -> str:
    """A ticket for a new session of this person's."""
    with runtime.database.transaction() as db:
        session = UserSession(user_id=person.user_id, environment="light", wish={})
        db.add(session)
        db.flush()
        return tickets.issue(db, session.id, person, 60, way)


def redeemed(runtime: Runtime, person: Person, token: str) -> bool:
    """Whether the ticket was good."""
    try:
        with runtime.database.transaction() as db:
            tickets.redeem(db, person, token)
    except TicketRefused:
        return False
    return True


def test_a_ticket_says_whose_session_it_opens(runtime: Runtime) -> None:
    """And when it was used."""
    alice = signed_in(runtime, "alice")
    token = issued(runtime, alice)
    with runtime.database.transaction() as db:
        ticket = tickets.redeem(db, alice, token)
        assert (ticket.user_id, ticket.sign_in_id) == (alice.user_id, alice.sign_in_id)
        assert ticket.used_at is not None


def test_a_ticket_is_good_once(runtime: Runtime) -> None:
    """The second time it is refused, with words for a person."""
    alice = signed_in(runtime, "alice")
    token = issued(runtime, alice)
    assert redeemed(runtime, alice, token)
    with pytest.raises(TicketRefused) as refusal, runtime.database.transaction() as db:
        tickets.redeem(db, alice, token)
    assert refusal.value.hint


def test_of_many_at_once_one_gets_it(each_runtime: Runtime) -> None:
    """On either database."""
    alice = signed_in(each_runtime, "alice")
    token = issued(each_runtime, alice)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: redeemed(each_runtime, alice, token), range(8))) == 1


def test_a_ticket_that_was_rolled_back_is_good_again(runtime: Runtime) -> None:
    """Where the desktop could not be opened in the same transaction, the user may try again with it."""
    alice = signed_in(runtime, "alice")
    token = issued(runtime, alice)
    with suppress(RuntimeError), runtime.database.transaction() as db:
        tickets.redeem(db, alice, token)
        raise RuntimeError("the session was not ready")
    assert redeemed(runtime, alice, token)


def test_a_ticket_is_good_for_its_own_sign_in_only(runtime: Runtime) -> None:
    """In other hands it is refused, and stays good."""
    alice, bob = signed_in(runtime, "alice"), signed_in(runtime, "bob")
    token = issued(runtime, alice)
    assert not redeemed(runtime, bob, token)
    assert redeemed(runtime, alice, token)


def from_file(runtime: Runtime, token: str) -> bool:
    """Whether the ticket was good at the RDP gateway, where nobody shows a sign-in."""
    try:
        with runtime.database.transaction() as db:
            tickets.redeem_from_file(db, token, Way.RDP)
    except TicketRefused:
        return False
    return True


def test_a_ticket_opens_its_own_door_only(runtime: Runtime) -> None:
    """The browser's ticket is none at the RDP gateway, nor the other way round; and each stays good."""
    alice = signed_in(runtime, "alice")
    browser, file = issued(runtime, alice), issued(runtime, alice, Way.RDP)
    assert not from_file(runtime, browser)
    assert not redeemed(runtime, alice, file)
    assert from_file(runtime, file)
    assert redeemed(runtime, alice, browser)


def test_of_many_who_show_a_file_at_once_one_gets_in(each_runtime: Runtime) -> None:
    """On either database; and nobody later."""
    token = issued(each_runtime, signed_in(each_runtime, "alice"), Way.RDP)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: from_file(each_runtime, token), range(8))) == 1
    assert not from_file(each_runtime, token)


@pytest.mark.parametrize("gone", ["revoked_at", "expires_at"])
def test_a_files_ticket_dies_with_the_sign_in_that_downloaded_it(runtime: Runtime, gone: str) -> None:
    """Signed out, or for too long signed in; another sign-in of the same person does not help."""
    alice = signed_in(runtime, "alice")
    token = issued(runtime, alice, Way.RDP)
    with runtime.database.reading() as db:
        user = db.get_one(User, alice.user_id)
    begin_sign_in(runtime, user)
    with runtime.database.transaction() as db:
        db.execute(update(SignIn).where(SignIn.id == alice.sign_in_id).values({gone: now() - timedelta(seconds=1)}))
    assert not from_file(runtime, token)


def test_an_old_ticket_is_refused_and_forgotten_later(runtime: Runtime) -> None:
    """It is kept for a day, for whoever asks what happened."""
    alice = signed_in(runtime, "alice")
    token, fresh = issued(runtime, alice), issued(runtime, alice)
    old = Ticket.token_hash == tickets.digest(token)

    def ended(ago: timedelta) -> int:
        with runtime.database.transaction() as db:
            db.execute(update(Ticket).where(old).values(expires_at=now() - ago))
            tickets.forget_old(db)
            return db.scalar(select(func.count()).select_from(Ticket)) or 0

    assert ended(timedelta(seconds=1)) == 2
    assert not redeemed(runtime, alice, token)
    assert ended(tickets.KEPT + timedelta(seconds=1)) == 1
    assert redeemed(runtime, alice, fresh)


def test_a_tickets_secret_is_not_kept(runtime: Runtime) -> None:
    """Who reads the database cannot open a desktop; and no two tickets are alike."""
    alice = signed_in(runtime, "alice")
    tokens = {issued(runtime, alice) for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32
    with runtime.database.reading() as db:
        kept = " ".join(str(vars(row)) for row in db.scalars(select(Ticket)))
    assert not any(token in kept for token in tokens)
