"""Who waits, for how long, and what a launch would find now: estimates from one look at the database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import builds, fairness, stock
from broker.pools.allocation import Offer
from broker.pools.fairness import Holding, Waiter
from broker.pools.models import COMING, Machine
from broker.pools.reserving import Kept
from broker.sessions import seats
from broker.sessions.models import SessionState, UserSession
from broker.sessions.rules import Line, wait_estimate
from broker.sessions.seats import Seats
from broker.settings import Settings

_SESSIONS = UserSession.metadata.tables[UserSession.__tablename__]
_QUEUED = (
    select(_SESSIONS.c.pool, func.count())
    .where(_SESSIONS.c.state == SessionState.QUEUED, _SESSIONS.c.pool.is_not(None))
    .group_by(_SESSIONS.c.pool)
)

NO_SEATS = Seats(Kept(0.0))


@dataclass(frozen=True)
class Queues:
    """All pools' queues at one moment."""

    offers: dict[str, Offer]
    waiting: dict[str, list[int]]  # session ids, the next one first
    lines: dict[str, Line] = field(default_factory=dict)
    seats: Seats = NO_SEATS

    def place(self, pool: str | None, session_id: int) -> int | None:
        """The session's place in its pool's queue; 1 is next, None where it does not wait there."""
        waiting = self.waiting.get(pool or "", [])
        return waiting.index(session_id) + 1 if session_id in waiting else None

    def wait_seconds(self, pool: str | None, place: int) -> float | None:
        """Seconds until the one at `place` in the pool's queue has a machine, as far as anybody can know."""
        line = self.lines.get(pool or "")
        return wait_estimate(place, line) if line is not None else None

    def waits(self, offers: Iterable[Offer], session_id: int | None = None) -> dict[str, float | None]:
        """Seconds until somebody who joins a pool's queue has a machine; the session itself is not ahead."""
        return {o.pool: self.wait_seconds(o.pool, 1 + self.ahead(o.pool, session_id)) for o in offers}

    def ahead(self, pool: str, session_id: int | None = None) -> int:
        """How many others wait for the pool already."""
        return sum(other != session_id for other in self.waiting.get(pool, ()))

    def as_free(self, environment: str, session_id: int | None = None, *, seat: int | None = None) -> list[Offer]:
        """The pools of `environment`, with as vacant what nobody else waits for, nor is it kept for others.

        `seat` is the reservation of which somebody has a seat.
        """
        mine = (offer for offer in self.offers.values() if offer.environment == environment)
        return [self.seats.kept.net(offer, behind=self.ahead(offer.pool, session_id), mine=seat) for offer in mine]

    def free(self, pool: str) -> int:
        """Vacant machines that nobody waits for, and that are kept for nobody."""
        offer = self.offers[pool]
        return self.seats.kept.net(offer, behind=self.ahead(pool)).vacant if offer.serving else 0


def look(db: Session, settings: Settings, environment: str | None = None) -> Queues:
    """The queues of all pools of `environment`, or of all."""
    offers = {offer.pool: offer for offer in stock.offers(db, settings, environment)}
    found = seats.look(db, settings, environment)
    ordinary = {name: found.kept.net(offer, behind=0) for name, offer in offers.items()}
    return Queues(offers, _waiting(db, settings), _lines(db, ordinary), found)


def queued_by_pool(db: Session) -> Counter[str]:
    """How many sessions wait, by the pool that they wait for."""
    rows = db.execute(_QUEUED)
    return Counter({str(pool): number for pool, number in rows})


def vacancies(
    db: Session, settings: Settings, environment: str, seats: Seats, *, behind: Mapping[str, int], seat: int | None
) -> list[Offer]:
    """The pools of `environment`, with as vacant what somebody may be given who comes after those that wait.

    The one place that says which vacant machines a launch may take; `behind` counts, by pool, those who go first, and
    `seat` is the reservation of which somebody has a seat. `seats` were held before, so that they are true until the
    machine is claimed.
    """
    return [
        seats.kept.net(offer, behind=behind.get(offer.pool, 0), mine=seat)
        for offer in stock.offers(db, settings, environment)
    ]


def line_up(db: Session, settings: Settings) -> list[Waiter]:
    """All who wait, the next one first: fair to groups and users by what they hold already."""
    rows = db.execute(
        select(UserSession.id, UserSession.user_id, UserSession.group, UserSession.requested_at, UserSession.pool)
        .where(UserSession.state == SessionState.QUEUED)
        .order_by(UserSession.id)
    ).all()
    waiting = [Waiter(id_, user, group, asked.timestamp(), pool or "") for id_, user, group, asked, pool in rows]
    return fairness.order(waiting, _holding(db), stock.shares(settings)) if waiting else []


def _holding(db: Session) -> Holding:
    users, groups = Counter[int](), Counter[str]()
    rows = db.execute(
        select(UserSession.user_id, UserSession.group, func.count())
        .where(UserSession.state.in_((SessionState.PREPARING, SessionState.READY)))
        .group_by(UserSession.user_id, UserSession.group)
    )
    for user, group, number in rows:
        users[user] += number
        groups[group] += number
    return Holding(users, groups)


def _waiting(db: Session, settings: Settings) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for waiter in line_up(db, settings):
        found[waiter.line].append(waiter.id)
    return dict(found)


def _lines(db: Session, offers: dict[str, Offer]) -> dict[str, Line]:
    moment = now()
    began = _moments(db, select(Machine.pool, Machine.requested_at).where(Machine.state.in_(COMING)))
    ends = _moments(db, select(UserSession.pool, UserSession.expires_at).where(UserSession.state == SessionState.READY))
    times = builds.medians(db, offers)
    degraded = {name for name, pool in stock.wishes_of_administrators(db).items() if pool.retry_at is not None}
    return {
        name: _line(
            times.get(name),
            _ordinary(began[name], offer),
            ends[name],
            moment,
            offer.room > 0 and name not in degraded,
        )
        for name, offer in offers.items()
    }


def _ordinary(began: list[datetime], offer: Offer) -> list[datetime]:
    """Of the machines that are coming, those for everybody: the last ones, where others are kept for a reservation."""
    return sorted(began)[max(0, len(began) - offer.coming) :] if offer.kept else began


def _moments(db: Session, query: object) -> defaultdict[str, list[datetime]]:
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    for pool, moment in db.execute(query):  # type: ignore[call-overload]
        if moment is not None:
            found[str(pool)].append(moment)
    return found


def _line(
    build: float | None, began: Sequence[datetime], ends: Sequence[datetime], moment: datetime, may_grow: bool
) -> Line:
    ages = [(moment - began_at).total_seconds() for began_at in began]
    return Line(
        coming=tuple(max(1.0, build - age) for age in ages) if build is not None else (),
        expiries=tuple((end - moment).total_seconds() for end in ends),
        build_seconds=build,
        may_grow=may_grow,
    )
