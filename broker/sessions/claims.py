"""What machines a session may have, and claiming one for it."""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy.orm import Session

from broker.errors import NothingFits
from broker.pools import allocation, stock
from broker.pools.allocation import Offer, Wish
from broker.pools.alternatives import alternatives, why_not
from broker.sessions import quotas, seats, waiting
from broker.sessions.models import SessionState, UserSession, mark, move
from broker.sessions.seats import Seats
from broker.settings import Settings

S = SessionState


def nothing_fits(wish: Wish, offers: list[Offer]) -> NothingFits:
    """The error that says of each pool why it cannot serve the wish."""
    return NothingFits(
        f"No machine can serve this wish: {allocation.refusal(wish, offers).reason}.",
        hint="Wish for less, or for another location.",
        why_not=[asdict(entry) for entry in why_not(wish, offers)],
        alternatives=[entry.facts() for entry in alternatives(wish, offers, {})],
    )


def hold(db: Session, settings: Settings, session: UserSession) -> Seats:
    """Hold what giving the session a machine needs, until the transaction of `db` ends; before any row is changed.

    Every launch takes these locks first, and rows after them: two that did it the other way would stop each other.
    """
    kept = seats.hold(db, settings, session.environment)
    quotas.hold(db, settings, session.group)
    db.refresh(session, with_for_update=True)
    return kept


def open_to(db: Session, settings: Settings, session: UserSession) -> tuple[Wish, list[Offer]]:
    """A waiting session's wish, and the pools that it may be given a machine of when its turn has come."""
    kept = seats.hold(db, settings, session.environment)
    session.reservation_id = session.reservation_id or kept.of(session.environment, wish_of(session).groups)
    offers = waiting.vacancies(db, settings, session.environment, kept, behind={}, seat=session.reservation_id)
    return wish_of(session), quotas.affordable(db, settings, session.group, offers, besides=session.id)


def wish_of(session: UserSession) -> Wish:
    """The session's wish, as it was asked."""
    return Wish(**{**session.wish, "groups": tuple(session.wish.get("groups", ()))})


def claim_for(db: Session, settings: Settings, session: UserSession, wish: Wish, offers: list[Offer]) -> bool:
    """Claim the best vacant machine for `session` and move it to preparing; False where none is vacant."""
    weights = stock.weights(settings)
    fitting = allocation.ranked(wish, offers, weights)
    for number, offer in enumerate(fitting):
        if not offer.vacant:
            return False
        machine_id = stock.claim(db, offer.pool, session.id)
        if machine_id is not None:
            reason = allocation.explain(offer, fitting, wish, weights)
            tries = session.tries + 1
            move(db, session, S.PREPARING, reason=reason, pool=offer.pool, machine_id=machine_id, tries=tries)
            mark(db, session, "claimed", known_first=tries == 1)
            return True
        fitting[number] = replace(offer, vacant=0)  # somebody was quicker
    return False
