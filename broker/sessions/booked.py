"""How far each reservation is, as administrators and teachers see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import bookings, reserving, stock
from broker.pools.bookings import Taken
from broker.pools.models import MachineState, Reservation
from broker.pools.reserving import Kept
from broker.sessions import seats
from broker.settings import Settings

SHOWN_AFTER = timedelta(days=1)  # for how long a reservation that is over stays in the list


class Phase(StrEnum):
    """Where a reservation is in its life: a matter of the clock, but for a cancelled one."""

    PLANNED = "planned"  # nothing is kept for it yet
    FILLING = "filling"  # its machines are being made, and kept
    OPEN = "open"  # its people take their seats
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class ReservationCard:
    """One reservation: of its seats `taken` have or wait for a machine, `ready` have one or a vacant one is kept.

    `fills_at` is when the first machine is asked for.
    """

    id: int
    title: str
    environment: str
    environment_title: str
    group: str
    seats: int
    pools: dict[str, int]
    starts_at: datetime
    ends_at: datetime
    fills_at: datetime
    made_by: str
    phase: Phase
    taken: int
    ready: int


def cards(db: Session, settings: Settings) -> list[ReservationCard]:
    """The reservations that are not over, or not for long, the next one first."""
    since = now() - SHOWN_AFTER
    shown = select(Reservation).where(Reservation.ends_at > since, Reservation.cancelled_at.is_(None))
    return _cards(db, settings, list(db.scalars(shown.order_by(Reservation.starts_at, Reservation.id))))


def card(db: Session, settings: Settings, row: Reservation) -> ReservationCard:
    """How far this one is."""
    return some(db, settings, [row])[row.id]


def some(db: Session, settings: Settings, rows: Sequence[Reservation]) -> dict[int, ReservationCard]:
    """How far these are, by id: beside all others, which share machines and builds with them."""
    wanted = {row.id for row in rows}
    others = [other for other in bookings.live(db) if other.id not in wanted]
    return {found.id: found for found in _cards(db, settings, [*others, *rows]) if found.id in wanted}


def _cards(db: Session, settings: Settings, rows: Sequence[Reservation]) -> list[ReservationCard]:
    taken = seats.taken(db, [row.id for row in rows])
    kept = bookings.kept(db, settings, rows, lambda db, ids: taken)
    vacant = {pool: held[MachineState.VACANT] for pool, held in stock.counts(db, settings.pools).items()}
    ready = _ready([row for row in rows if _phase(row, kept) in (Phase.FILLING, Phase.OPEN)], taken, vacant)
    return [_card(settings, row, kept, taken, ready.get(row.id, 0)) for row in rows]


def _ready(
    rows: Iterable[Reservation], taken: Mapping[tuple[int, str], Taken], vacant: Mapping[str, int]
) -> dict[int, int]:
    """Seats that have a machine, or for which a vacant one is there; no machine counts for two."""
    found, left = {}, dict(vacant)
    for row in sorted(rows, key=lambda one: (one.starts_at, one.id)):
        found[row.id] = 0
        for booking in bookings.bookings(row, taken):
            spare = min(booking.unclaimed, left.get(booking.pool, 0))
            left[booking.pool] = left.get(booking.pool, 0) - spare
            found[row.id] += min(booking.seats, booking.claimed + spare)
    return found


def _phase(row: Reservation, kept: Kept) -> Phase:
    if row.cancelled_at is not None:
        return Phase.CANCELLED
    if row.ends_at.timestamp() <= kept.moment:
        return Phase.OVER
    if row.starts_at.timestamp() - kept.margin <= kept.moment:
        return Phase.OPEN
    return Phase.FILLING if _fills_at(row, kept) <= kept.moment else Phase.PLANNED


def _fills_at(row: Reservation, kept: Kept) -> float:
    mine = [(pool, one) for pool, some in kept.bookings.items() for one in some if one.id == row.id]
    fills = [reserving.fills_from(one, kept.paces[pool]) for pool, one in mine]
    return min(fills, default=row.starts_at.timestamp() - kept.margin)


def _card(
    settings: Settings, row: Reservation, kept: Kept, taken: Mapping[tuple[int, str], Taken], ready: int
) -> ReservationCard:
    environment = settings.environments.get(row.environment)
    used = [seat for (reservation, _), seat in taken.items() if reservation == row.id]
    return ReservationCard(
        id=row.id,
        title=row.title,
        environment=row.environment,
        environment_title=environment.title if environment else row.environment,
        group=row.group,
        seats=row.seats,
        pools=dict(row.pools),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        fills_at=datetime.fromtimestamp(_fills_at(row, kept), row.starts_at.tzinfo),
        made_by=row.made_by,
        phase=_phase(row, kept),
        taken=sum(seat.claimed + seat.waiting for seat in used),
        ready=ready,
    )
