"""A waiting session's wish: what it waits for, what it might have sooner, and changing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from broker import events
from broker.errors import WrongState
from broker.identity.rights import Right
from broker.identity.service import Person
from broker.pools import allocation, stock
from broker.pools.allocation import Wish
from broker.pools.alternatives import Alternative, WhyNot, alternatives, why_not
from broker.runtime import Runtime
from broker.sessions import claims, quotas, service, waiting
from broker.sessions.models import SessionState, UserSession
from broker.sessions.seats import Seats
from broker.sessions.waiting import Queues
from broker.settings import Settings

S = SessionState


@dataclass(frozen=True)
class Prospects:
    """What somebody who waits might have sooner, and why each pool has nothing for the wish now."""

    alternatives: list[Alternative]
    why_not: list[WhyNot]


NONE = Prospects([], [])


def prospects(settings: Settings, queues: Queues, session: UserSession) -> Prospects:
    """The prospects of a session that waits."""
    wish = claims.wish_of(session)
    offers = queues.as_free(session.environment, session.id, seat=session.reservation_id)
    waits = queues.waits(offers, session.id)
    place = queues.place(session.pool, session.id)
    if session.pool is not None and place is not None:
        waits[session.pool] = queues.wait_seconds(session.pool, place)
    return Prospects(alternatives(wish, offers, waits, stock.weights(settings)), why_not(wish, offers))


def change(runtime: Runtime, person: Person, session_id: int, wished: Mapping[str, Any]) -> UserSession:
    """Let a waiting session wish for something else of its environment: `wished` has fields of Wish.

    Its time of waiting still counts. Nothing is changed where it has this wish already, whatever became of it: a
    repeated request is one. Raises WrongState where it waits no longer, NothingFits where no pool can ever serve the
    new wish, OverQuota where its group may not have it.
    """
    with runtime.database.transaction() as db:
        session = service.mine(db, person, session_id, others=Right.OPERATE)
        kept = claims.hold(db, runtime.settings, session)
        before = claims.wish_of(session)
        wish = Wish(**{**wished, "environment": before.environment, "groups": before.groups})
        if wish == before:
            return session
        if session.state != S.QUEUED:
            raise WrongState(
                f"Session {session.id} waits no longer: it is {session.state}.", hint="Reload the page to see it."
            )
        events.record(db, "session:wish", session.id, actor=person.name, owner=session.user_id, wish=asdict(wish))
        _settle(db, runtime.settings, session, wish, kept)
        return session


def _settle(db: Session, settings: Settings, session: UserSession, wish: Wish, kept: Seats) -> None:
    """Write the new wish down and serve it, or let it wait, behind those who wait already."""
    others = waiting.queued_by_pool(db) - Counter([session.pool or ""])
    seat = session.reservation_id
    offers = waiting.vacancies(db, settings, session.environment, kept, behind=others, seat=seat)
    fitting = allocation.ranked(wish, offers, stock.weights(settings))
    if not fitting:
        raise claims.nothing_fits(wish, offers)
    affordable = quotas.affordable(db, settings, session.group, fitting, besides=session.id)
    if not affordable:
        raise quotas.refusal(db, settings, session.group, fitting[0], besides=session.id)
    session.wish = asdict(wish)
    db.flush()
    if not claims.claim_for(db, settings, session, wish, affordable):
        session.pool = affordable[0].pool
        session.reason = allocation.explain(affordable[0], affordable, wish, stock.weights(settings))
