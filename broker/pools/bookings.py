"""The bookings that matter now, from the database: what reserving decides with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from broker import database
from broker.database import now
from broker.pools import builds, reserving
from broker.pools.models import Reservation
from broker.pools.reserving import Booked, Booking, Kept
from broker.pools.sizing import More
from broker.settings import Settings

_TABLE = Reservation.metadata.tables[Reservation.__tablename__]
_LIVE = (
    select(Reservation)
    .where(_TABLE.c.cancelled_at.is_(None), _TABLE.c.ends_at > bindparam("moment", type_=_TABLE.c.ends_at.type))
    .order_by(_TABLE.c.id)
    .execution_options(populate_existing=True)  # who waited for hold() sees what was changed meanwhile
)


@dataclass(frozen=True)
class Taken:
    """A reservation's sessions in one pool: how many have a machine, and how many wait for one."""

    claimed: int = 0
    waiting: int = 0


TakenSeats = Callable[[Session, Sequence[int]], Mapping[tuple[int, str], Taken]]  # by reservation and pool


def nobody(db: Session, reservations: Sequence[int]) -> Mapping[tuple[int, str], Taken]:
    """Where there are no sessions."""
    return {}


def live(db: Session) -> list[Reservation]:
    """The reservations that are not over."""
    return list(db.scalars(_LIVE, {"moment": now()}))


def hold(db: Session, environment: str) -> None:
    """Be the only one who counts this environment's seats, until the transaction of `db` ends."""
    database.hold(db, f"reservations {environment}")


def kept(
    db: Session,
    settings: Settings,
    reservations: Sequence[Reservation],
    taken: TakenSeats,
    environment: str | None = None,
) -> Kept:
    """What these reservations keep at this moment of the environment's machines, or of all.

    All reservations are needed for either: pools that are filled at the same time share what their cloud builds.
    """
    moment, margin = now().timestamp(), settings.reservations.margin_minutes * 60
    mine = [reservation for reservation in reservations if environment in (None, reservation.environment)]
    if not mine:
        return Kept(moment, margin)
    found = _by_pool(settings, mine, taken(db, [reservation.id for reservation in mine]))
    booked = _booked(db, settings, _by_pool(settings, reservations, {}))
    paces = {pool: reserving.pace(booked[pool], booked.values(), margin) for pool in found}
    return Kept(moment, margin, found, paces)


def _by_pool(
    settings: Settings, reservations: Sequence[Reservation], seats: Mapping[tuple[int, str], Taken]
) -> dict[str, list[Booking]]:
    found: dict[str, list[Booking]] = {}
    for booking in (booking for reservation in reservations for booking in bookings(reservation, seats)):
        if booking.pool in settings.pools:
            found.setdefault(booking.pool, []).append(booking)
    return found


def _booked(db: Session, settings: Settings, found: Mapping[str, Sequence[Booking]]) -> dict[str, Booked]:
    takes, clouds = builds.means(db, found), {name: settings.clouds[settings.pools[name].cloud] for name in found}
    return {
        name: Booked(name, clouds[name].name, mine, takes[name], clouds[name].concurrent_builds)
        for name, mine in found.items()
    }


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
