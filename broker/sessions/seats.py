"""Who sits on a reservation's seats, and which machines are kept for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from broker.pools import bookings
from broker.pools.bookings import Taken
from broker.pools.models import Reservation
from broker.pools.reserving import Kept
from broker.sessions.models import ACTIVE, SessionState, UserSession
from broker.settings import Settings

_SESSIONS = UserSession.metadata.tables[UserSession.__tablename__]
_TAKEN = (
    select(_SESSIONS.c.reservation_id, _SESSIONS.c.pool, _SESSIONS.c.state, func.count())
    .where(_SESSIONS.c.reservation_id.in_(bindparam("reservations", expanding=True)), _SESSIONS.c.state.in_(ACTIVE))
    .group_by(_SESSIONS.c.reservation_id, _SESSIONS.c.pool, _SESSIONS.c.state)
)
WAITING = (SessionState.REQUESTED, SessionState.QUEUED)


@dataclass(frozen=True)
class Seats:
    """What is kept at one moment, and for whom."""

    kept: Kept
    reservations: Mapping[int, Reservation] = field(default_factory=dict)

    def of(self, environment: str, groups: Collection[str], named: int | None = None) -> int | None:
        """The reservation of which somebody of these groups, or with a seat of the one `named`, may take a seat now."""
        return self.kept.seat(
            id_
            for id_, one in self.reservations.items()
            if one.environment == environment and (id_ == named or (one.group and one.group in groups))
        )

    def bound_until(self, reservation: int | None) -> datetime | None:
        """When a session on one of its seats ends with it, if it does."""
        found = self.reservations.get(reservation) if reservation is not None else None
        return found.ends_at if found is not None and found.ends_sessions else None


def taken(db: Session, reservations: Sequence[int]) -> dict[tuple[int, str], Taken]:
    """How many sessions of these reservations have a machine, and wait for one, by reservation and pool."""
    claimed, waiting = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for reservation, pool, state, number in db.execute(_TAKEN, {"reservations": reservations}):
        (waiting if state in WAITING else claimed)[reservation, pool or ""] += number
    return {key: Taken(claimed[key], waiting[key]) for key in claimed | waiting}


def look(db: Session, settings: Settings, environment: str | None = None) -> Seats:
    """The seats of the environment, or of all."""
    return _seats(db, settings, bookings.live(db), environment)


def hold(db: Session, settings: Settings, environment: str) -> Seats:
    """The same for one who will claim a machine: nobody else does so until the transaction of `db` ends.

    Only where there are reservations at all; launches of other environments go on beside each other.
    """
    found = bookings.live(db)
    if any(reservation.environment == environment for reservation in found):
        bookings.hold(db, environment)
        found = bookings.live(db)
    return _seats(db, settings, found, environment)


def _seats(db: Session, settings: Settings, found: Sequence[Reservation], environment: str | None) -> Seats:
    kept = bookings.kept(db, settings, found, taken, environment)
    return Seats(kept, {one.id: one for one in found})
