"""What administrators do with reservations: make, change, cancel. One audited transaction each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events
from broker.database import now
from broker.errors import InvalidRequest, NoRoomToReserve, NotFound, WrongState
from broker.identity.rights import Right
from broker.identity.service import Person
from broker.pools import allocation, bookings, reserving, stock
from broker.pools.allocation import Wish
from broker.pools.models import Reservation
from broker.pools.reserving import Booking
from broker.runtime import Runtime
from broker.sessions import leases
from broker.sessions.models import ACTIVE, UserSession
from broker.settings import EnvironmentSettings, Settings

LONGEST = timedelta(days=366)
MOST_SEATS = 10_000


@dataclass(frozen=True)
class Plan:
    """What is to be reserved, in UTC whatever the zone it was said in. `pools` are the ones to take it from, in this
    order; none named: as `wish` ranks them.

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

    def __post_init__(self) -> None:
        for name in ("starts_at", "ends_at"):
            object.__setattr__(self, name, getattr(self, name).astimezone(UTC))


@dataclass(frozen=True)
class Change:
    """What is to be otherwise of a reservation; what is None stays."""

    seats: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def make(runtime: Runtime, person: Person, plan: Plan) -> Reservation:
    """Reserve, or NoRoomToReserve with how many there could be. The same values again are the same reservation."""
    person.must(Right.OPERATE)
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
    _must_be_in_order(plan)
    unknown = [pool for pool in plan.pools if pool not in settings.pools]
    if unknown:
        raise NotFound(f"There is no pool {unknown[0][:40]!r}.", hint=f"There are: {', '.join(settings.pools)}.")
    return environment


def _must_be_in_order(plan: Plan) -> None:
    if not 1 <= plan.seats <= MOST_SEATS:
        raise InvalidRequest(f"{plan.seats} seats cannot be reserved.", hint=f"Give a number from 1 to {MOST_SEATS}.")
    if not plan.starts_at < plan.ends_at <= plan.starts_at + LONGEST or plan.ends_at <= now():
        raise InvalidRequest(
            f"Nothing can be reserved from {plan.starts_at:%Y-%m-%d %H:%M} to {plan.ends_at:%Y-%m-%d %H:%M} UTC.",
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
    """How many machines may be reserved of each pool that fits, the best first: its limit less what is booked then,
    from when it is to be warm."""
    margin = settings.reservations.margin_minutes * 60
    offers = [replace(o, vacant=0, coming=0, room=o.limit) for o in stock.offers(db, settings, plan.wish.environment)]
    groups = (plan.group,) if plan.group else tuple({group for offer in offers for group in offer.groups})
    ranked = allocation.ranked(replace(plan.wish, groups=groups), offers, stock.weights(settings))
    limits = {offer.pool: offer.limit for offer in ranked}
    if plan.pools:
        limits = {pool: limits[pool] for pool in plan.pools if pool in limits}
    booked: dict[str, list[Booking]] = {pool: [] for pool in limits}
    for row in bookings.live(db):
        for booking in bookings.bookings(row, {}):
            if row.id != besides and booking.pool in booked:
                booked[booking.pool].append(replace(booking, begins=booking.begins - margin))
    begins, ends = plan.starts_at.timestamp() - margin, plan.ends_at.timestamp()
    return {pool: max(0, limit - reserving.peak(booked[pool], begins, ends)) for pool, limit in limits.items()}


def change(runtime: Runtime, person: Person, reservation_id: int, wanted: Change) -> Reservation:
    """Change a group's reservation; WrongState for a course's."""
    person.must(Right.OPERATE)
    with runtime.database.transaction() as db:
        row = _of_a_group(db, reservation_id)
        rebook(db, runtime.settings, row, wanted, person.name)
        return row


def _of_a_group(db: Session, reservation_id: int) -> Reservation:
    """The reservation, or WrongState where it is a course's, whose people and desktops go with it."""
    row = one(db, reservation_id)
    if not row.group:
        raise WrongState(f"{row.title} is a course.", hint="Change or end it in the list of courses.")
    return row


def rebook(db: Session, settings: Settings, row: Reservation, wanted: Change, actor: str) -> bool:
    """Give a reservation that is not over other seats or another time, in the transaction of `db`; whether it has now.

    It stays in its pools where those have room; else others give its seats that are as good.
    """
    bookings.hold(db, row.environment)
    db.refresh(row)
    if row.cancelled_at is not None or row.ends_at <= now():
        raise WrongState(f"{row.title} is over; it cannot be changed.", hint="Make a new one.")
    before = _facts(row)
    plan = Plan(
        title=row.title,
        group=row.group,
        seats=row.seats if wanted.seats is None else wanted.seats,
        starts_at=wanted.starts_at or row.starts_at,
        ends_at=wanted.ends_at or row.ends_at,
        wish=_wish(settings, row),
        pools=tuple(row.pools),
    )
    _must_be_in_order(plan)
    try:
        pools = _pools(db, settings, plan, row.id)
    except NoRoomToReserve:
        pools = _pools(db, settings, replace(plan, pools=()), row.id)
    ended_at = row.ends_at
    row.seats, row.starts_at, row.ends_at, row.pools = plan.seats, plan.starts_at, plan.ends_at, pools
    if row.ends_at != ended_at:
        _move_ends(db, settings, row)
    changed = _facts(row) != before
    if changed:
        events.record(db, "reservation:change", row.id, actor=actor, before=before, **_facts(row))
    return changed


def _wish(settings: Settings, row: Reservation) -> Wish:
    """What machines in place of the row's must be. What was wished is not kept: so no less than it has, in its place.

    A course wished for nothing but its environment.
    """
    pools = [settings.pools[name] for name in row.pools if name in settings.pools]
    if not row.group or not pools:
        return Wish(row.environment)
    sizes = [settings.sizes[pool.size] for pool in pools]
    return Wish(
        row.environment,
        location=_common(settings.clouds[pool.cloud].location for pool in pools) or None,
        cores=min(size.cores for size in sizes),
        memory_gb=min(size.memory_gb for size in sizes),
        gpus=min(size.gpus for size in sizes),
        gpu_model=_common(size.gpu_model for size in sizes),
        architecture=_common(size.architecture for size in sizes),
    )


def _common(values: Iterable[str]) -> str:
    """What all of them are, or nothing."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _move_ends(db: Session, settings: Settings, row: Reservation) -> None:
    """Let the sessions that end with it end no later than it does; one that its old end cut short has its lease again.

    What somebody has extended stays extended.
    """
    bound = (UserSession.reservation_id == row.id, UserSession.bound_until.is_not(None), UserSession.state.in_(ACTIVE))
    for session in db.scalars(select(UserSession).where(*bound)):
        session.bound_until = row.ends_at
        if session.ready_at is not None and session.expires_at is not None:
            lease = session.ready_at + leases.lease_of(settings, session.environment)
            session.expires_at, session.warned_minutes = min(max(session.expires_at, lease), row.ends_at), None
        events.changed(db, "session", session.id, session.user_id)


def cancel(runtime: Runtime, person: Person, reservation_id: int) -> Reservation:
    """Keep nothing for a group any more; sessions that run go on. Twice is once; WrongState for a course's."""
    person.must(Right.OPERATE)
    with runtime.database.transaction() as db:
        row = _of_a_group(db, reservation_id)
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
