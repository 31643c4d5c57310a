"""The bookings that matter now, from the database: what reserving decides with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from broker import database
from broker.database import now
from broker.pools import stock
from broker.pools.models import Reservation
from broker.pools.outlook import UNKNOWN_BUILD
from broker.pools.reserving import Booking, Kept, Pace
from broker.pools.sizing import More
from broker.settings import Settings

_TABLE = Reservation.metadata.tables[Reservation.__tablename__]
_LIVE = (_TABLE.c.cancelled_at.is_(None), _TABLE.c.ends_at > bindparam("moment", type_=_TABLE.c.ends_at.type))
_OF_ALL = select(Reservation).where(*_LIVE).order_by(_TABLE.c.id)
_OF_ENVIRONMENT = _OF_ALL.where(_TABLE.c.environment == bindparam("environment"))


@dataclass(frozen=True)
class Taken:
    """A reservation's sessions in one pool: how many have a machine, and how many wait for one."""

    claimed: int = 0
    waiting: int = 0


TakenSeats = Callable[[Session, Sequence[int]], Mapping[tuple[int, str], Taken]]  # by reservation and pool


def nobody(db: Session, reservations: Sequence[int]) -> Mapping[tuple[int, str], Taken]:
    """Where there are no sessions."""
    return {}


def live(db: Session, environment: str | None = None) -> list[Reservation]:
    """The reservations that are not over, of the environment or of all."""
    if environment is None:
        return list(db.scalars(_OF_ALL, {"moment": now()}))
    return list(db.scalars(_OF_ENVIRONMENT, {"moment": now(), "environment": environment}))


def hold(db: Session, environment: str) -> None:
    """Be the only one who counts this environment's seats, until the transaction of `db` ends."""
    database.hold(db, f"reservations {environment}")


def kept(db: Session, settings: Settings, reservations: Sequence[Reservation], taken: TakenSeats) -> Kept:
    """What these reservations keep at this moment."""
    moment, margin = now().timestamp(), settings.reservations.margin_minutes * 60
    if not reservations:
        return Kept(moment, margin)
    seats = taken(db, [reservation.id for reservation in reservations])
    found: dict[str, list[Booking]] = {}
    for reservation in reservations:
        for booking in bookings(reservation, seats):
            if booking.pool in settings.pools:
                found.setdefault(booking.pool, []).append(booking)
    return Kept(moment, margin, found, _paces(db, settings, found, margin))


def bookings(reservation: Reservation, seats: Mapping[tuple[int, str], Taken]) -> list[Booking]:
    """The reservation's part in each of its pools."""
    return [_booking(reservation, pool, number, seats) for pool, number in reservation.pools.items()]


def _booking(reservation: Reservation, pool: str, number: int, seats: Mapping[tuple[int, str], Taken]) -> Booking:
    used = seats.get((reservation.id, pool), Taken())
    begins, ends = reservation.starts_at.timestamp(), reservation.ends_at.timestamp()
    return Booking(reservation.id, reservation.title, pool, number, begins, ends, used.claimed, used.waiting)


def more(kept: Kept, taken_over: Mapping[str, int], pools: Iterable[str]) -> dict[str, More]:
    """What each pool keeps vacant beyond its own."""
    return {pool: More(*kept.reserved(pool), taken_over.get(pool, 0)) for pool in pools}


def _paces(db: Session, settings: Settings, pools: Mapping[str, object], margin: float) -> dict[str, Pace]:
    """Pools of one cloud that are filled for reservations share what it may be asked for at a time."""
    sharing = Counter(settings.pools[pool].cloud for pool in pools)
    found = {}
    for pool in pools:
        cloud = settings.pools[pool].cloud
        at_a_time = max(1, math.floor(settings.clouds[cloud].concurrent_builds / sharing[cloud]))
        found[pool] = Pace(stock.lead_seconds(db, pool) or UNKNOWN_BUILD, at_a_time, margin)
    return found
