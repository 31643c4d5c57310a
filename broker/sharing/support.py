"""Support joins a session when its owner allows it; an administrator who must not wait joins at once, and is seen."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from broker import events
from broker.connections.models import Share, ShareKind, share_stands
from broker.database import now
from broker.errors import InvalidRequest, NotFound, SessionNotReady
from broker.identity.models import User
from broker.identity.rights import Right
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import service as sessions
from broker.sessions.models import SessionState, UserSession
from broker.sharing import rules
from broker.sharing.models import Answer, JoinRequest, decide
from broker.sharing.service import add, hold_shares, note

HELPERS = (ShareKind.SUPPORT, ShareKind.BREAK_GLASS)
ALLOWED = (Answer.LOOK, Answer.CONTROL)


def ask(runtime: Runtime, person: Person, session_id: int, reason: str) -> JoinRequest:
    """Ask the owner to let this person join, who reads the reason. Twice is once, while nobody has answered."""
    with runtime.database.transaction() as db:
        session = _of_somebody(db, person, session_id, Right.JOIN)
        waiting = db.scalar(
            _open_ones().where(JoinRequest.session_id == session.id, JoinRequest.user_id == person.user_id)
        )
        if waiting is not None:
            return waiting
        ends = now() + rules.QUESTION_LASTS
        request = JoinRequest(session_id=session.id, user_id=person.user_id, reason=reason, expires_at=ends)
        db.add(request)
        db.flush()
        _note(db, "asked", request, session, person.name, reason=reason)
        return request


def answer(runtime: Runtime, person: Person, request_id: int, given: Answer) -> JoinRequest:
    """The owner's answer; an allowance is a share for an hour, which either side ends before.

    Of two answers at once the first one counts; WrongState for the other.
    """
    with runtime.database.transaction() as db:
        request = db.get(JoinRequest, request_id)
        session = db.get_one(UserSession, request.session_id) if request is not None else None
        if request is None or session is None or session.user_id != person.user_id:
            raise NotFound(f"Nobody asks you {request_id}.", hint="Look at your start page.")
        hold_shares(db, session.id)
        db.refresh(session)
        if session.user_id != person.user_id:  # it was handed over at this moment
            raise NotFound(f"Nobody asks you {request_id}.", hint="Look at your start page.")
        decide(db, request, answer=given)
        if given in ALLOWED:
            _must_be_ready(session)
            control = given is Answer.CONTROL
            share = add(
                db,
                session,
                ShareKind.SUPPORT,
                made_by_id=person.user_id,
                user_id=request.user_id,
                control=control,
                reason=request.reason,
                lasts=rules.SUPPORT_LASTS,
            )
            request.share_id = share.id
            note(db, "made", share, session, person.name, control=control)
        _note(db, given, request, session, person.name)
        return request


def take_back(runtime: Runtime, person: Person, request_id: int) -> JoinRequest:
    """Who asked asks no longer. Twice is once."""
    with runtime.database.transaction() as db:
        request = asked_by(db, person, request_id)
        if request.answer != Answer.TAKEN_BACK:
            decide(db, request, answer=Answer.TAKEN_BACK)
            _note(db, Answer.TAKEN_BACK, request, db.get_one(UserSession, request.session_id), person.name)
        return request


def break_glass(runtime: Runtime, person: Person, session_id: int, reason: str, *, control: bool) -> Share:
    """Join at once, without asking; the owner reads who and why while it lasts, and in the history afterwards.

    The same again is the same one, with this control.
    """
    with runtime.database.transaction() as db:
        session = _of_somebody(db, person, session_id, Right.BREAK_GLASS)
        hold_shares(db, session.id)
        who = (Share.user_id == person.user_id, Share.kind == ShareKind.BREAK_GLASS)
        share = db.scalar(select(Share).where(Share.session_id == session.id, *who, share_stands()))
        if share is None:
            share = add(
                db,
                session,
                ShareKind.BREAK_GLASS,
                made_by_id=person.user_id,
                user_id=person.user_id,
                lasts=rules.SUPPORT_LASTS,
                full=False,
            )
        share.control, share.reason = control, reason
        note(db, "break-glass", share, session, person.name, reason=reason, control=control)
        return share


def asked_by(db: Session, person: Person, request_id: int) -> JoinRequest:
    """This person's own question; else NotFound."""
    request = db.get(JoinRequest, request_id)
    if request is None or request.user_id != person.user_id:
        raise NotFound(f"You asked nothing as {request_id}.", hint="Ask to join a session first.")
    return request


def open_questions(db: Session, person: Person) -> list[tuple[JoinRequest, UserSession, User]]:
    """Who asks to join this person's ready sessions, and waits for an answer; the first one first."""
    query = (
        select(JoinRequest, UserSession, User)
        .join(UserSession, UserSession.id == JoinRequest.session_id)
        .join(User, User.id == JoinRequest.user_id)
        .where(UserSession.user_id == person.user_id, UserSession.state == SessionState.READY)
        .where(JoinRequest.waits())
        .order_by(JoinRequest.id)
    )
    return [(request, session, user) for request, session, user in db.execute(query)]


def joining(db: Session, person: Person) -> tuple[dict[int, JoinRequest], dict[int, Share]]:
    """By session: what this person has asked and nobody answered, and where this person may go in as support."""
    asked = db.scalars(_open_ones().where(JoinRequest.user_id == person.user_id))
    inside = db.scalars(select(Share).where(Share.user_id == person.user_id, Share.kind.in_(HELPERS), share_stands()))
    return {one.session_id: one for one in asked}, {one.session_id: one for one in inside}


def _open_ones() -> Select[JoinRequest]:
    return select(JoinRequest).where(JoinRequest.waits())


def _of_somebody(db: Session, person: Person, session_id: int, right: Right) -> UserSession:
    session = sessions.mine(db, person, session_id, others=right)
    if session.user_id == person.user_id:
        raise InvalidRequest("This session is your own.", hint="Open it from the portal.")
    _must_be_ready(session)
    return session


def _must_be_ready(session: UserSession) -> None:
    if session.state != SessionState.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; only a ready one can be joined.", hint="Wait until it is ready."
        )


def _note(db: Session, action: str, request: JoinRequest, session: UserSession, actor: str, **more: str) -> None:
    """Write it down, and let the owner's and the asker's pages know."""
    events.record(db, f"join:{action}", request.id, actor=actor, owner=session.user_id, session=session.id, **more)
    events.changed(db, "join", request.id, request.user_id)
