"""Handovers as both sides see them: what is offered now, and what was handed over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, aliased

from broker.connections import policy
from broker.database import now
from broker.identity.models import User
from broker.identity.service import Person
from broker.sessions.models import SessionState, UserSession, runs_as
from broker.settings import Settings
from broker.sharing import rules
from broker.sharing.models import Handover, Outcome

MOST = 100


@dataclass(frozen=True)
class Offer:
    """One handover. `state` is "open", the outcome, or "over"; `made_by` an administrator's name, if one made it.

    `terms` are what the receiver is to read before accepting; what its policy does not allow is told to nobody else.
    """

    id: int
    session: int
    title: str
    icon: str
    giver: str
    giver_name: str
    receiver: str
    receiver_name: str
    made_by: str | None
    reason: str
    offered_at: datetime
    expires_at: datetime
    seconds_left: float
    state: str
    answered_at: datetime | None
    terms: list[str]


def of_person(db: Session, settings: Settings, person: Person) -> list[Offer]:
    """All in which this person is giver, receiver or the administrator, the newest first."""
    return _offers(db, settings, person, _is_of(person))


def open_now(db: Session, settings: Settings, person: Person) -> list[Offer]:
    """Those of them that wait for an answer."""
    return _offers(db, settings, person, _is_of(person), Handover.waits(), UserSession.state == SessionState.READY)


def given(db: Session, settings: Settings, person: Person) -> list[Offer]:
    """What this person has handed over, or an administrator for them, or others that runs under this person's account;
    the newest first."""
    mine = or_(Handover.giver_id == person.user_id, UserSession.account_id == person.user_id)
    away = Handover.receiver_id != person.user_id
    return _offers(db, settings, person, mine, away, Handover.outcome == Outcome.ACCEPTED)


def one(db: Session, settings: Settings, person: Person, handover: Handover) -> Offer:
    """This one, as this person may see it."""
    return _offers(db, settings, person, Handover.id == handover.id)[0]


def _is_of(person: Person) -> ColumnElement[bool]:
    return or_(*(who == person.user_id for who in (Handover.giver_id, Handover.receiver_id, Handover.made_by_id)))


def _offers(db: Session, settings: Settings, person: Person, *which: ColumnElement[bool]) -> list[Offer]:
    giver, receiver, made_by, account = (aliased(User) for _ in range(4))
    query = (
        select(Handover, UserSession, giver, receiver, made_by, account)
        .join(UserSession, UserSession.id == Handover.session_id)
        .join(giver, giver.id == Handover.giver_id)
        .join(receiver, receiver.id == Handover.receiver_id)
        .join(made_by, made_by.id == Handover.made_by_id)
        .join(account, runs_as(account))
        .where(*which)
        .order_by(Handover.id.desc())
        .limit(MOST)
    )
    return [_offer(settings, person, *row) for row in db.execute(query)]


def _offer(
    settings: Settings,
    person: Person,
    found: Handover,
    session: UserSession,
    giver: User,
    receiver: User,
    made_by: User,
    account: User,
) -> Offer:
    environment = settings.environments.get(session.environment)
    allowed = policy.of_all(settings, session.environment, (receiver, account))
    not_allowed = policy.in_words(allowed) if receiver.id == person.user_id else []
    return Offer(
        id=found.id,
        session=session.id,
        title=environment.title if environment else session.environment,
        icon=environment.icon if environment else "display",
        giver=giver.name,
        giver_name=giver.full_name,
        receiver=receiver.name,
        receiver_name=receiver.full_name,
        made_by=made_by.full_name if made_by.id != giver.id else None,
        reason=found.reason,
        offered_at=found.offered_at,
        expires_at=found.expires_at,
        seconds_left=max(0.0, round((found.expires_at - now()).total_seconds(), 1)),
        state=_state(found, session),
        answered_at=found.answered_at,
        terms=rules.terms(
            giver=giver.full_name, account=account.full_name, group=session.group, not_allowed=not_allowed
        ),
    )


def _state(found: Handover, session: UserSession) -> str:
    if found.outcome is not None:
        return str(found.outcome)
    return "open" if found.expires_at > now() and session.state == SessionState.READY else "over"
