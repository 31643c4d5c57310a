"""A ready session is handed over to another member of its group, who accepts it. One transaction each.

Who accepts becomes its owner in all that the broker decides. The desktop goes on as it is, under the account and in the
home of who launched it (`account_id`): a machine never gets a second account. Both are told so before they agree.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from broker import events
from broker.connections.models import Certificate, Share, Ticket
from broker.database import now
from broker.errors import Forbidden, InvalidRequest, NotFound, SessionNotReady, WrongState
from broker.identity.models import User
from broker.identity.rights import Right, Role
from broker.identity.service import Person, person_of
from broker.pools.models import Reservation
from broker.runtime import Runtime
from broker.sessions import quotas
from broker.sessions import rules as session_rules
from broker.sessions import service as sessions
from broker.sessions.models import ACTIVE, SessionState, UserSession
from broker.settings import EnvironmentSettings, Settings
from broker.sharing import rules
from broker.sharing.models import Handover, Outcome, decide
from broker.sharing.service import hold_shares, withdraw_where

LEAST_REASON = 3  # letters of an administrator's


def offer(runtime: Runtime, person: Person, session_id: int, name: str, reason: str = "") -> Handover:
    """Offer the session to the user of that name: its owner, or an administrator for a reason, whom the owner hears of.

    One offer stands at a time: the same one again lasts anew, another one is refused until it is withdrawn.
    """
    with runtime.database.transaction() as db:
        session = _ready(db, person, session_id)
        if session.user_id != person.user_id and len(reason) < LEAST_REASON:
            raise InvalidRequest("Its owner reads why you hand it over.", hint="Give a reason.")
        receiver = _receiver(db, session, name)
        if receiver.id == person.user_id:  # nobody takes one: who helps joins it, and is recorded
            raise Forbidden("You cannot hand somebody's session over to yourself.", hint="Name somebody else.")
        _must_be_fit(db, runtime.settings, session, person_of(receiver))
        found = db.scalar(select(Handover).where(Handover.session_id == session.id, Handover.waits()))
        if found is not None and found.receiver_id != receiver.id:
            raise WrongState("It is offered to somebody else already.", hint="Withdraw that offer first.")
        if found is None:
            parties = {"giver_id": session.user_id, "receiver_id": receiver.id, "made_by_id": person.user_id}
            found = Handover(session_id=session.id, reason=reason, **parties)
            db.add(found)
        found.expires_at = now() + rules.OFFER_LASTS
        db.flush()
        _note(db, "offered", found, person.name)
        return found


def accept(runtime: Runtime, person: Person, handover_id: int) -> Handover:
    """Become the owner, having read what that means. Twice is once.

    What the giver had open closes, and everything that was issued for the session before opens it no longer.
    """
    with runtime.database.transaction() as db:
        found = _offered_to(db, person, handover_id)
        session = db.get_one(UserSession, found.session_id, with_for_update={"key_share": True})
        whose = select(User.id).where(User.id == person.user_id)
        db.execute(whose.with_for_update(key_share=True))  # as launches do, for the quota; tickets still refer to it
        if found.outcome == Outcome.ACCEPTED:
            return found
        _must_be_ready(session)
        decide(db, found, outcome=Outcome.ACCEPTED)
        environment = _must_be_fit(db, runtime.settings, session, person)
        _must_have_room(db, runtime.settings, environment, person)
        _shut(db, session, person)
        _give(session, person)
        db.flush()
        _note(db, Outcome.ACCEPTED, found, person.name)
        return found


def refuse(runtime: Runtime, person: Person, handover_id: int) -> Handover:
    """Want it not. Twice is once."""
    with runtime.database.transaction() as db:
        found = _offered_to(db, person, handover_id)
        return _close(db, found, Outcome.REFUSED, person)


def withdraw(runtime: Runtime, person: Person, handover_id: int) -> Handover:
    """Offer it no longer: the giver, also where an administrator offered it, or who made the offer. Twice is once."""
    with runtime.database.transaction() as db:
        found = db.get(Handover, handover_id)
        if found is None or person.user_id not in (found.giver_id, found.made_by_id):
            raise NotFound(f"You offer nothing as {handover_id}.", hint="Look at your list of offers.")
        hold_shares(db, found.session_id)
        db.refresh(found)
        return _close(db, found, Outcome.WITHDRAWN, person)


def close_over(runtime: Runtime) -> None:
    """By the manager, again and again: what was not answered in time, or outlives its session, is no offer any more."""
    with runtime.database.reading() as db:
        if db.scalar(select(Handover.id).where(_is_over()).limit(1)) is None:
            return
    with runtime.database.transaction() as db:
        closed = update(Handover).where(_is_over()).values(outcome=Outcome.OVER).returning(Handover)
        for found in db.scalars(closed).all():
            _note(db, Outcome.OVER, found, events.SYSTEM)


def _is_over() -> ColumnElement[bool]:
    """That an offer was not answered, and cannot be any more."""
    ended = select(UserSession.id).where(UserSession.id == Handover.session_id, UserSession.state != SessionState.READY)
    return and_(Handover.outcome.is_(None), or_(Handover.expires_at <= now(), ended.exists()))


def _ready(db: Session, person: Person, session_id: int) -> UserSession:
    """The session, which this person may offer, alone in the hands of this transaction."""
    session = sessions.mine(db, person, session_id, others=Right.BREAK_GLASS)
    hold_shares(db, session.id)
    db.refresh(session)
    sessions.mine(db, person, session_id, others=Right.BREAK_GLASS)  # it may have been handed over meanwhile
    _must_be_ready(session)
    return session


def _must_be_ready(session: UserSession) -> None:
    if session.state != SessionState.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; only a ready one can be handed over.",
            hint="Wait until it is ready." if session.state in ACTIVE else "Its files are in the giver's home.",
        )


def _receiver(db: Session, session: UserSession, name: str) -> User:
    found = db.scalar(select(User).where(User.name == name, User.role != Role.SERVICE))
    if found is None:
        raise NotFound(f"There is no user {name[:40]!r}.", hint="Users exist from their first sign-in on.")
    if found.id == session.user_id:
        raise InvalidRequest(f"{found.full_name} has this session already.", hint="Name somebody else.")
    return found


def _must_be_fit(db: Session, settings: Settings, session: UserSession, receiver: Person) -> EnvironmentSettings:
    """Raise Forbidden unless the receiver is of the session's group and could have launched it; its environment."""
    rules.must_be_member(receiver.full_name, session.group, receiver.groups)
    environment = settings.environments.get(session.environment)
    if environment is None or not (receiver.is_admin or environment.open_to(receiver.groups)):
        name = environment.title if environment else session.environment
        raise Forbidden(f"{receiver.full_name} may not launch {name}.", hint="Name somebody who may.")
    seat = db.get(Reservation, session.reservation_id) if session.reservation_id else None
    if seat is not None and seat.group not in receiver.groups:
        raise Forbidden(f"This session has a seat of {seat.title}.", hint="A course's seat is its guest's alone.")
    return environment


def _must_have_room(db: Session, settings: Settings, environment: EnvironmentSettings, receiver: Person) -> None:
    """Raise OverQuota where the receiver has as many sessions as one may have. Their group has this one already."""
    mine = (UserSession.user_id == receiver.user_id, UserSession.state.in_(ACTIVE))
    have = db.scalars(select(UserSession.environment).where(*mine)).all()
    session_rules.must_have_room(quotas.of_person(have, settings, environment))


def _offered_to(db: Session, person: Person, handover_id: int) -> Handover:
    """This person's offer, alone in the hands of this transaction; else NotFound."""
    found = db.get(Handover, handover_id)
    if found is None or found.receiver_id != person.user_id:
        raise NotFound(f"Nothing is offered to you as {handover_id}.", hint="Look at your start page.")
    hold_shares(db, found.session_id)
    db.refresh(found)
    return found


def _close(db: Session, found: Handover, outcome: Outcome, person: Person) -> Handover:
    if found.outcome != outcome:
        decide(db, found, outcome=outcome)
        _note(db, outcome, found, person.name)
    return found


def _shut(db: Session, session: UserSession, person: Person) -> None:
    """Let nothing that was issued for the session until now open it any more."""
    withdraw_where(db, session, person, Share.session_id == session.id)
    unused = (Ticket.session_id == session.id, Ticket.used_at.is_(None))
    db.execute(update(Ticket).where(*unused).values(used_at=now()))
    standing = (Certificate.session_id == session.id, Certificate.withdrawn_at.is_(None))
    db.execute(update(Certificate).where(*standing).values(withdrawn_at=now()))


def _give(session: UserSession, person: Person) -> None:
    """The one place where a session gets another owner. Warnings that the giver got are given to the receiver anew."""
    session.account_id = session.account_id or session.user_id
    session.user_id = person.user_id
    session.warned_minutes, session.idle_warned_at = None, None
    session.last_active_at, session.last_sign = now(), "its handover"


def _note(db: Session, action: str, found: Handover, actor: str) -> None:
    """Write it down with both names, and let the pages of all who have to do with it know."""
    ids = {"giver": found.giver_id, "receiver": found.receiver_id}
    names = {whose: db.get_one(User, id_).name for whose, id_ in ids.items()}
    detail = {"session": found.session_id, **names, **({"reason": found.reason} if found.reason else {})}
    events.record(db, f"handover:{action}", found.id, actor=actor, owner=found.receiver_id, **detail)
    for id_ in {found.giver_id, found.made_by_id}:
        events.changed(db, "handover", found.id, id_)
    if action == Outcome.ACCEPTED:
        events.record(db, "session:handover", found.session_id, actor=actor, owner=found.receiver_id, **names)
        events.changed(db, "session", found.session_id, found.giver_id)
