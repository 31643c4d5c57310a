"""The connections' rows, by which open desktops are counted, watched and closed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import events
from broker.connections import openings, policy
from broker.connections.models import Connection, Ticket, Way
from broker.errors import OverQuota, TicketRefused
from broker.gateways.processes import gateway_name
from broker.identity.models import User
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from broker.sessions.service import Desktop


@dataclass(frozen=True)
class Visitor:
    """Who comes: the address, the process that will carry the desktop, and what gives this process its name."""

    client: str
    carrier: int
    name_carrier: Callable[[int], None]


def enter(
    db: Session, desktop: Desktop, way: Way, visitor: Visitor, most: int, certificate_id: int | None = None
) -> None:
    """Write the connection down, or raise OverQuota where who comes has `most` of this session by this way already.

    The process that carries it takes its name before anybody can read the row.
    """
    gateway = gateway_name()
    _must_have_room(db, gateway, way, desktop, most)
    row = Connection(
        way=way,
        session_id=desktop.session_id,
        user_id=desktop.user_id,
        sign_in_id=desktop.sign_in_id,
        share_id=desktop.share_id,
        view_only=desktop.view_only,
        gateway=gateway,
        pid=visitor.carrier,
        certificate_id=certificate_id,
        client=visitor.client,
    )
    db.add(row)
    db.flush()
    events.came_from(visitor.client or None)
    openings.note_opened(db, row, desktop.user, policy.not_allowed(desktop.policy))
    visitor.name_carrier(row.id)


def _must_have_room(db: Session, gateway: str, way: Way, desktop: Desktop, most: int) -> None:
    """Each one who opens it has so many windows, so that guests never keep its owner out."""
    query = select(func.count()).where(
        Connection.session_id == desktop.session_id,
        Connection.user_id == desktop.user_id,
        Connection.gateway == gateway,
        Connection.way == way,
        Connection.closed_at.is_(None),
    )
    if (db.scalar(query) or 0) >= most:
        raise OverQuota(f"This desktop is open in {most} windows already.", hint="Close one of them, then try again.")


def warm(runtime: Runtime, redeem: Callable[[Session], object]) -> None:
    """Ask the database here once what every visit asks, so that the first one need not wait for it. `redeem` is tried
    with a ticket that nobody has."""
    with suppress(TicketRefused), runtime.database.transaction() as db:
        for table in (Ticket, UserSession, Machine, User):
            db.get(table, 0)
        redeem(db)
    nobodys = Desktop(0, 0, "", 0, "", "", "", "", "")  # of no session: refused
    with suppress(IntegrityError), runtime.database.transaction() as db:
        enter(db, nobodys, Way.BROWSER, Visitor("", 0, lambda _: None), 1)
