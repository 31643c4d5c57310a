"""Tickets: issued to a signed-in user for one session and one door, redeemed once by that door's gateway."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from broker.connections.models import Ticket, Way
from broker.database import now
from broker.errors import TicketRefused
from broker.identity.models import SignIn
from broker.identity.service import Person, digest

KEPT = timedelta(days=1)


def issue(
    db: Session,
    session_id: int,
    person: Person,
    seconds: int,
    way: Way = Way.BROWSER,
    *,
    share_id: int | None = None,
) -> str:
    """A new ticket's secret; the ticket hangs on the person's sign-in and dies with it, as a guest's with the share."""
    token = secrets.token_urlsafe(24)
    db.add(
        Ticket(
            token_hash=digest(token),
            way=way,
            session_id=session_id,
            user_id=person.user_id,
            sign_in_id=person.sign_in_id,
            share_id=share_id,
            expires_at=now() + timedelta(seconds=seconds),
        )
    )
    return token


def redeem(db: Session, person: Person, token: str, way: Way = Way.BROWSER) -> Ticket:
    """The browser's ticket, for the desktop or for its sound, used up by this very call; of two callers at once one
    gets it. Else TicketRefused.

    In the hands of another sign-in than it was issued to it is refused, and stays good for the right one.
    """
    return _use_up(db, token, way, Ticket.sign_in_id == person.sign_in_id)


def redeem_from_file(db: Session, token: str, way: Way) -> Ticket:
    """A connection file's ticket, used up by this very call, whoever shows it; else TicketRefused.

    No cookie comes with a file: it is good while the sign-in lasts that downloaded it.
    """
    lasts = select(SignIn.id).where(
        SignIn.id == Ticket.sign_in_id, SignIn.revoked_at.is_(None), SignIn.expires_at > now()
    )
    return _use_up(db, token, way, lasts.exists())


def _use_up(db: Session, token: str, way: Way, fitting: ColumnElement[bool]) -> Ticket:
    used = db.execute(
        update(Ticket)
        .where(Ticket.token_hash == digest(token), Ticket.used_at.is_(None), Ticket.expires_at > now())
        .where(Ticket.way == way, fitting)
        .values(used_at=now())
        .returning(Ticket)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if used is None:
        raise TicketRefused(
            "This ticket is unknown, was used already, is too old, or was issued to another sign-in.",
            hint="Open the desktop from the portal again.",
        )
    return used


def forget_old(db: Session) -> None:
    """Drop tickets that can no longer open anything."""
    db.execute(delete(Ticket).where(Ticket.expires_at < now() - KEPT))
