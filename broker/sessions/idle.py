"""What becomes of idle sessions: their machines are asked, and what they say is written down and acted upon.

A decision follows a fresh answer only, in one transaction with it; a session whose machine is silent stays. Only ready
sessions are ever asked: machines that wait in a pool, or are being prepared, have no session and no idle time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from agents.protocol import StatusAnswer
from broker import events
from broker.database import now
from broker.errors import SessionNotReady
from broker.identity.models import User
from broker.identity.rights import Right, Role
from broker.identity.service import Person
from broker.runtime import Runtime
from broker.sessions import idleness, service
from broker.sessions.idleness import Activity, End, IdleRule, Warn, Withdraw
from broker.sessions.models import SessionState, UserSession
from broker.settings import Settings

S = SessionState
SOON = timedelta(seconds=10)  # between two questions about a session that is warned: use withdraws the warning


def rule_of(settings: Settings, environment: str, owner: User) -> IdleRule | None:
    """The idle rule of this environment's sessions; None where they may be idle for ever.

    A program's may: whoever uses its machines comes by ways of which we see neither input nor load, and hears of no
    warning.
    """
    hours, warning = settings.idle_times(environment) if owner.role != Role.SERVICE else (None, 0.0)
    return IdleRule(timedelta(hours=hours), timedelta(hours=warning)) if hours else None


def activity_of(session: UserSession) -> Activity:
    """What is known of a session's use, as far as the database knows."""
    return Activity(
        last_active_at=session.last_active_at or session.ready_at or session.requested_at,
        sign=session.last_sign or "",
        work=session.work or "",
        heard_at=session.heard_at,
        warned_at=session.idle_warned_at,
        kept_at=session.kept_at,
    )


class Rounds:
    """Whose machine is to be asked now: everybody's in turn, and those that are warned more often."""

    def __init__(self) -> None:
        self._asked: dict[int, datetime] = {}

    def due(self, runtime: Runtime) -> list[int]:
        """The sessions to ask about; they count as asked from now on."""
        with runtime.database.reading() as db:
            ready = db.execute(
                select(UserSession.id, UserSession.idle_warned_at).where(UserSession.state == S.READY)
            ).all()
        moment, every = now(), timedelta(seconds=runtime.settings.times.activity_every)
        self._asked = {id_: self._asked[id_] for id_, _ in ready if id_ in self._asked}
        due = [id_ for id_, warned in ready if self._is_due(id_, moment, min(SOON, every) if warned else every)]
        self._asked.update(dict.fromkeys(due, moment))
        return due

    def _is_due(self, session_id: int, moment: datetime, every: timedelta) -> bool:
        asked = self._asked.get(session_id)
        return asked is None or moment - asked >= every


def hear(runtime: Runtime, session_id: int, answer: StatusAnswer) -> timedelta | None:
    """Write down what the session's machine said and do what follows; how long is left where it is warned now."""
    with runtime.database.transaction() as db:
        session = db.get_one(UserSession, session_id, with_for_update=True)
        if session.state != S.READY or answer.session != str(session_id):
            return None
        before, moment = activity_of(session), now()
        known = idleness.heard(before, answer, moment)
        if known is None:
            return None
        _write(db, session, before, known)
        rule = rule_of(runtime.settings, session.environment, db.get_one(User, session.user_id))
        return _act(db, session, idleness.idle_due(known, rule, moment))


def _write(db: Session, session: UserSession, before: Activity, known: Activity) -> None:
    session.last_active_at, session.last_sign, session.work = known.last_active_at, known.sign, known.work
    session.heard_at, session.kept_at = known.heard_at, known.kept_at
    if before.kept_at and not known.kept_at:
        events.record(db, "session:work-ended", session.id, owner=session.user_id)
    moment = known.heard_at or now()
    if before.work != known.work or idleness.use(before, moment) != idleness.use(known, moment):
        events.changed(db, "session", session.id, session.user_id)


def _act(db: Session, session: UserSession, due: Warn | Withdraw | End | None) -> timedelta | None:
    match due:
        case Warn(ends_at):
            session.idle_warned_at = now()
            events.record(db, "session:idle-warn", session.id, owner=session.user_id, ends_at=ends_at.isoformat())
            return ends_at - now()
        case Withdraw():
            session.idle_warned_at = None
            events.record(db, "session:in-use-again", session.id, owner=session.user_id, sign=session.last_sign)
        case End(reason):
            db.flush()
            service.close(db, session, reason=reason)
    return None


def stay(runtime: Runtime, person: Person, session_id: int) -> UserSession:
    """The user is still there: the idle time begins anew, and a warning is withdrawn."""
    with runtime.database.transaction() as db:
        session = _ready(db, person, session_id)
        _seen(session)
        events.record(db, "session:stay", session.id, actor=person.name, owner=session.user_id)
        return session


def keep(runtime: Runtime, person: Person, session_id: int, *, until_work_ends: bool) -> UserSession:
    """Keep the session while the user's work runs, however still it is, or no longer; its lease holds all the same."""
    with runtime.database.transaction() as db:
        session = _ready(db, person, session_id)
        session.kept_at = now() if until_work_ends else None
        until = None
        if until_work_ends:
            until = "work-ends"
            _seen(session)
        events.record(db, "session:keep", session.id, actor=person.name, owner=session.user_id, until=until)
        return session


def _seen(session: UserSession) -> None:
    session.last_active_at, session.last_sign, session.idle_warned_at = now(), "a click in the portal", None


def _ready(db: Session, person: Person, session_id: int) -> UserSession:
    session = service.mine(db, person, session_id, others=Right.OPERATE)
    db.refresh(session, with_for_update=True)
    if session.state != S.READY:
        raise SessionNotReady(
            f"Session {session.id} is {session.state}; only a ready one can be kept.",
            hint="Look at your list of sessions.",
        )
    return session
