"""Closes open connections whose session is over or was handed over, whose user signed out, or that are no longer shared
with who has them: it looks in SQL, and ends their processes.

It watches every desktop of this host, by whichever door, those of a gateway that was killed as well. A look that fails,
because the database is away, closes nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from broker import metrics
from broker.connections import openings
from broker.connections.models import Certificate, Connection, Share, share_stands
from broker.database import Database, changed, now
from broker.gateways.processes import carries, end, gateway_name
from broker.identity.models import SignIn
from broker.runtime import Runtime
from broker.sessions.models import SessionState, UserSession

EVERY = 0.5  # seconds between looks
AFTER_FAILURE = 3.0
PATIENCE = 2.0  # seconds from the friendly signal to the other one


@dataclass(frozen=True)
class Open:
    """One row that says that a desktop is open; `over` where it should not be."""

    connection_id: int
    pid: int
    over: bool


def run(runtime: Runtime, parent: int) -> None:
    """Watch while `parent` lives."""
    told: dict[int, float] = {}
    while os.getppid() == parent:
        pause = AFTER_FAILURE
        with metrics.swallowed("gateway-watch"):
            look(runtime.database, told)
            pause = EVERY
        time.sleep(pause)


def look(database: Database, told: dict[int, float]) -> None:
    """Close what is over, and write down what has ended; `told` remembers since when a process knows."""
    rows = _open_here(database)
    dead = {row.connection_id for row in rows if not carries(row.pid, row.connection_id)}
    _write_down(database, dead)
    living = {row.connection_id for row in rows} - dead
    for row in rows:
        if row.over and row.connection_id in living:
            patient = time.monotonic() - told.setdefault(row.connection_id, time.monotonic()) < PATIENCE
            end(row.pid, row.connection_id, signal.SIGTERM if patient else signal.SIGKILL)
    for connection_id in set(told) - living:
        del told[connection_id]


def _open_here(database: Database) -> Sequence[Open]:
    with database.reading() as db:
        rows = db.execute(
            select(Connection.id, Connection.pid, _is_over())
            .join(UserSession, UserSession.id == Connection.session_id)
            .join(SignIn, SignIn.id == Connection.sign_in_id)
            .outerjoin(Certificate, Certificate.id == Connection.certificate_id)
            .outerjoin(Share, Share.id == Connection.share_id)
            .where(Connection.gateway == gateway_name(), Connection.closed_at.is_(None))
        )
        return [Open(*row) for row in rows]


def _is_over() -> ColumnElement[bool]:
    """A certificate lives as long as the lease: it outlives a sign-in that grew old, not one that was ended."""
    grew_old = and_(Connection.certificate_id.is_(None), SignIn.expires_at < now())
    withdrawn = or_(SignIn.revoked_at.is_not(None), Certificate.withdrawn_at.is_not(None))
    handed_over = and_(Connection.share_id.is_(None), Connection.user_id != UserSession.user_id)
    ended = UserSession.state != SessionState.READY
    return or_(ended, handed_over, grew_old, withdrawn, _is_shared_no_longer())


def _is_shared_no_longer() -> ColumnElement[bool]:
    """A guest's, whose share does not stand; or who may control now and looked before, or the other way round."""
    other = or_(and_(Connection.view_only, Share.control), and_(~Connection.view_only, ~Share.control))
    return and_(Connection.share_id.is_not(None), or_(~share_stands(), other))


def _write_down(database: Database, dead: set[int]) -> None:
    """Close these rows, and those that a host left behind which is gone with its open desktops."""
    ended = select(UserSession.id).where(UserSession.state.in_((SessionState.ENDED, SessionState.FAILED)))
    left = and_(Connection.gateway != gateway_name(), Connection.session_id.in_(ended))
    gone = and_(Connection.closed_at.is_(None), or_(Connection.id.in_(dead), left))
    with database.reading() as db:
        if not db.scalar(select(Connection.id).where(gone).limit(1)):
            return
    with database.transaction() as db:
        _tell_owners(db, openings.close(db, gone))


def _tell_owners(db: Session, shares: set[int]) -> None:
    """The pages of owners whose guests have left hear of it."""
    of_owners = select(Share.id, UserSession.user_id).join(UserSession, UserSession.id == Share.session_id)
    for share_id, owner in db.execute(of_owners.where(Share.id.in_(shares))):
        changed(db, "share", share_id, owner)
