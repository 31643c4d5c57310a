"""What administrators do with reservations: make, change, cancel; and how far each is. One audited transaction each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import InvalidRequest, NoRoomToReserve, NotFound, WrongState
from broker.identity.service import Person
from broker.pools import allocation, bookings, reserving, stock
from broker.pools.allocation import Wish
from broker.pools.bookings import Taken
from broker.pools.models import MachineState, Reservation
from broker.pools.reserving import Booking, Kept
from broker.runtime import Runtime
from broker.sessions import seats, service
from broker.sessions.models import ACTIVE, UserSession
from broker.settings import EnvironmentSettings, Settings

LONGEST = timedelta(days=366)
MOST_SEATS = 10_000
SHOWN_AFTER = timedelta(days=1)  # for how long a reservation that is over stays in the list


class Phase(StrEnum):
    """Where a reservation is in its life: a matter of the clock, but for a cancelled one."""

    PLANNED = "planned"  # nothing is kept for it yet
    FILLING = "filling"  # its machines are being made, and kept
    OPEN = "open"  # its people take their seats
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Plan:
    """What is to be reserved. `pools` are the ones to take it from, in this order; none named: as `wish` ranks them.

    Without a group it is for those whom a course names; where `ends_sessions`, their sessions end with it.
    """

    title: str
    group: str
    seats: int
    starts_at: datetime
    ends_at: datetime
    wish: Wish
    pools: tuple[str, ...] = ()
    ends_sessions: bool = False


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


def make(runtime: Runtime, person: Person, plan: Plan) -> Reservation:
    """Reserve, or NoRoomToReserve with how many there could be. The same values again are the same reservation."""
    person.must_be_admin()
    with runtime.database.transaction() as db:
        return book(db, runtime.settings, person, plan)


def book(db: Session, settings: Settings, person: Person, plan: Plan) -> Reservation:
    """Reserve within the transaction of `db`."""
    environment = _must_make_sense(settings, plan)
    bookings.hold(db, environment.name)
    same = _same(db, person, plan)
    if same is not None:
        return same
    row = Reservation(
        title=plan.title,
        environment=environment.name,
        group=plan.group,
        seats=plan.seats,
        pools=_pools(db, settings, plan),
        starts_at=plan.starts_at,
        ends_at=plan.ends_at,
        ends_sessions=plan.ends_sessions,
        made_by=person.name,
    )
    db.add(row)
    db.flush()
    events.record(db, "reservation:make", row.id, actor=person.name, **_facts(row))
    return row


def _must_make_sense(settings: Settings, plan: Plan) -> EnvironmentSettings:
    environment = settings.environments.get(plan.wish.environment)
    if environment is None:
        raise NotFound(
            f"There is no environment {plan.wish.environment[:40]!r}.",
            hint=f"There are: {', '.join(settings.environments) or 'none'}.",
        )
    if plan.group and not environment.open_to(frozenset({plan.group})):
        raise InvalidRequest(
            f"{environment.title} is not open to {plan.group}.", hint=f"It is to: {', '.join(environment.groups)}."
        )
    _must_be_in_order(plan.seats, plan.starts_at, plan.ends_at)
    unknown = [pool for pool in plan.pools if pool not in settings.pools]
    if unknown:
        raise NotFound(f"There is no pool {unknown[0][:40]!r}.", hint=f"There are: {', '.join(settings.pools)}.")
    return environment


def _must_be_in_order(number: int, starts_at: datetime, ends_at: datetime) -> None:
    if not 1 <= number <= MOST_SEATS:
        raise InvalidRequest(f"{number} seats cannot be reserved.", hint=f"Give a number from 1 to {MOST_SEATS}.")
    if not starts_at < ends_at <= starts_at + LONGEST or ends_at <= now():
        raise InvalidRequest(
            f"Nothing can be reserved from {starts_at:%Y-%m-%d %H:%M} to {ends_at:%Y-%m-%d %H:%M} UTC.",
            hint="Give an end that is after the start, not past, and at most a year later.",
        )


def _same(db: Session, person: Person, plan: Plan) -> Reservation | None:
    """The reservation that was made with these very values."""
    return db.scalar(
        select(Reservation).where(
            Reservation.title == plan.title,
            Reservation.environment == plan.wish.environment,
            Reservation.group == plan.group,
            Reservation.seats == plan.seats,
            Reservation.starts_at == plan.starts_at,
            Reservation.ends_at == plan.ends_at,
            Reservation.made_by == person.name,
            Reservation.cancelled_at.is_(None),
        )
    )


def _pools(db: Session, settings: Settings, plan: Plan, besides: int | None = None) -> dict[str, int]:
    """How many seats each pool gives, or NoRoomToReserve."""
    room = _room(db, settings, plan, besides)
    found = reserving.spread(plan.seats, room)
    if found is None:
        possible = sum(room.values())
        raise NoRoomToReserve(
            f"{plan.seats} machines cannot be reserved then: {possible} could be.",
            hint="Reserve fewer or at another time, or raise the limit of a pool." if room else "No pool fits.",
            possible=possible,
            pools=room,
        )
    return found


def _room(db: Session, settings: Settings, plan: Plan, besides: int | None) -> dict[str, int]:
    """How many machines may be reserved of each pool that fits, the best first: its limit less what is booked then."""
    offers = [replace(o, vacant=0, coming=0, room=o.limit) for o in stock.offers(db, settings, plan.wish.environment)]
    groups = (plan.group,) if plan.group else tuple({group for offer in offers for group in offer.groups})
    ranked = allocation.ranked(replace(plan.wish, groups=groups), offers, stock.weights(settings))
    limits = {offer.pool: offer.limit for offer in ranked}
    if plan.pools:
        limits = {pool: limits[pool] for pool in plan.pools if pool in limits}
    booked: dict[str, list[Booking]] = {pool: [] for pool in limits}
    for row in bookings.live(db, plan.wish.environment):
        for booking in bookings.bookings(row, {}):
            if row.id != besides and booking.pool in booked:
                booked[booking.pool].append(booking)
    begins, ends = plan.starts_at.timestamp(), plan.ends_at.timestamp()
    return {pool: max(0, limit - reserving.peak(booked[pool], begins, ends)) for pool, limit in limits.items()}


def change(
    runtime: Runtime,
    person: Person,
    reservation_id: int,
    *,
    number: int | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> Reservation:
    """Give a reservation that is not over other seats or another time; the pools are chosen anew where they must be."""
    person.must_be_admin()
    with runtime.database.transaction() as db:
        return rebook(db, runtime.settings, person, reservation_id, number, starts_at, ends_at)


def rebook(
    db: Session,
    settings: Settings,
    person: Person,
    reservation_id: int,
    number: int | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> Reservation:
    """Change it within the transaction of `db`."""
    row = one(db, reservation_id)
    bookings.hold(db, row.environment)
    db.refresh(row)
    if row.cancelled_at is not None or row.ends_at <= now():
        raise WrongState(f"{row.title} is over; it cannot be changed.", hint="Make a new reservation.")
    before = _facts(row)
    plan = Plan(
        title=row.title,
        group=row.group,
        seats=row.seats if number is None else number,
        starts_at=starts_at or row.starts_at,
        ends_at=ends_at or row.ends_at,
        wish=Wish(row.environment),
        pools=tuple(row.pools),
    )
    _must_be_in_order(plan.seats, plan.starts_at, plan.ends_at)
    try:
        pools = _pools(db, settings, plan, row.id)
    except NoRoomToReserve:
        pools = _pools(db, settings, replace(plan, pools=()), row.id)
    row.seats, row.starts_at, row.ends_at, row.pools = plan.seats, plan.starts_at, plan.ends_at, pools
    if _facts(row) != before:
        _move_ends(db, settings, row)
        events.record(db, "reservation:change", row.id, actor=person.name, before=before, **_facts(row))
    return row


def _move_ends(db: Session, settings: Settings, row: Reservation) -> None:
    """Let the sessions that end with it end at its new end; none lives longer than its lease."""
    bound = (UserSession.reservation_id == row.id, UserSession.bound_until.is_not(None), UserSession.state.in_(ACTIVE))
    for session in db.scalars(select(UserSession).where(*bound)):
        session.bound_until = row.ends_at
        if session.ready_at is not None:
            lease = session.ready_at + service.lease_of(settings, session.environment)
            session.expires_at, session.warned_minutes = min(lease, row.ends_at), None
        events.changed(db, "session", session.id, session.user_id)


def cancel(runtime: Runtime, person: Person, reservation_id: int) -> Reservation:
    """Keep nothing for it any more; sessions that run go on. Twice is once."""
    person.must_be_admin()
    with runtime.database.transaction() as db:
        row = one(db, reservation_id)
        release(db, row, person.name)
        return row


def release(db: Session, row: Reservation, actor: str) -> None:
    """The same within the transaction of `db`."""
    bookings.hold(db, row.environment)
    db.refresh(row)
    if row.cancelled_at is None and row.ends_at > now():
        row.cancelled_at = now()
        events.record(db, "reservation:cancel", row.id, actor=actor, title=row.title)


def one(db: Session, reservation_id: int) -> Reservation:
    """The reservation of that id, or NotFound."""
    row = db.get(Reservation, reservation_id)
    if row is None:
        raise NotFound(f"There is no reservation {reservation_id}.", hint="Look at the list of reservations.")
    return row


def _facts(row: Reservation) -> dict[str, Any]:
    times = {"starts_at": row.starts_at.isoformat(), "ends_at": row.ends_at.isoformat()}
    return {"title": row.title, "group": row.group, "seats": row.seats, "pools": dict(row.pools), **times}


def cards(db: Session, settings: Settings) -> list[ReservationCard]:
    """The reservations that are not over, or not for long, the next one first."""
    since = now() - SHOWN_AFTER
    shown = select(Reservation).where(Reservation.ends_at > since, Reservation.cancelled_at.is_(None))
    return _cards(db, settings, list(db.scalars(shown.order_by(Reservation.starts_at, Reservation.id))))


def card(db: Session, settings: Settings, row: Reservation) -> ReservationCard:
    """How far this one is."""
    others = [other for other in bookings.live(db) if other.id != row.id]
    return next(found for found in _cards(db, settings, [*others, row]) if found.id == row.id)


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
