"""Who waits, for how long, and what a launch would find now: estimates from one look at the database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import stock
from broker.pools.allocation import Offer
from broker.pools.models import COMING, Machine
from broker.sessions.models import SessionState, UserSession
from broker.sessions.rules import Line, wait_estimate
from broker.settings import Settings


@dataclass(frozen=True)
class Queues:
    """All pools' queues at one moment."""

    offers: dict[str, Offer]
    waiting: dict[str, list[int]]  # session ids, the next one first
    lines: dict[str, Line] = field(default_factory=dict)

    def place(self, pool: str | None, session_id: int) -> int | None:
        """The session's place in its pool's queue; 1 is next, None where it does not wait there."""
        waiting = self.waiting.get(pool or "", [])
        return waiting.index(session_id) + 1 if session_id in waiting else None

    def wait_seconds(self, pool: str | None, place: int) -> float | None:
        """Seconds until the one at `place` in the pool's queue has a machine, as far as anybody can know."""
        line = self.lines.get(pool or "")
        return wait_estimate(place, line) if line is not None else None

    def free(self, pool: str) -> int:
        """Vacant machines that nobody waits for."""
        return max(0, self.offers[pool].vacant - len(self.waiting.get(pool, ()))) if self.offers[pool].serving else 0


def look(db: Session, settings: Settings, environment: str | None = None) -> Queues:
    """The queues of all pools of `environment`, or of all."""
    offers = {offer.pool: offer for offer in stock.offers(db, settings, environment)}
    return Queues(offers, _waiting(db, offers), _lines(db, offers))


def queued_by_pool(db: Session) -> Counter[str]:
    """How many sessions wait, by the pool that they wait for."""
    rows = db.execute(
        select(UserSession.pool, func.count())
        .where(UserSession.state == SessionState.QUEUED, UserSession.pool.is_not(None))
        .group_by(UserSession.pool)
    )
    return Counter({str(pool): number for pool, number in rows})


def _waiting(db: Session, pools: dict[str, Offer]) -> dict[str, list[int]]:
    rows = db.execute(
        select(UserSession.pool, UserSession.id)
        .where(UserSession.state == SessionState.QUEUED, UserSession.pool.in_(pools))
        .order_by(UserSession.id)
    )
    found: dict[str, list[int]] = defaultdict(list)
    for pool, id_ in rows:
        found[str(pool)].append(id_)
    return dict(found)


def _lines(db: Session, offers: dict[str, Offer]) -> dict[str, Line]:
    moment = now()
    began = _moments(db, select(Machine.pool, Machine.requested_at).where(Machine.state.in_(COMING)))
    ends = _moments(db, select(UserSession.pool, UserSession.expires_at).where(UserSession.state == SessionState.READY))
    degraded = {name for name, pool in stock.wishes_of_administrators(db).items() if pool.retry_at is not None}
    return {
        name: _line(
            stock.build_seconds(db, name), began[name], ends[name], moment, offer.room > 0 and name not in degraded
        )
        for name, offer in offers.items()
    }


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
