"""Sessions, their states, the only writer of a session's state, and the trace of each launch."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Index, String, Text, func, update
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from broker import events
from broker.database import Base, note, now
from broker.errors import WrongState
from broker.identity.models import User


class SessionState(StrEnum):
    """Where a session is in its life."""

    REQUESTED = "requested"  # written, nothing decided yet
    QUEUED = "queued"  # waits in order for a machine
    PREPARING = "preparing"  # has a machine, its desktop is being started
    READY = "ready"  # painted and open to connections
    ENDING = "ending"  # connections are closed, files are being put away
    ENDED = "ended"  # over
    FAILED = "failed"  # over, and not as it should be; `failure` says why


S = SessionState
MOVES: dict[SessionState, frozenset[SessionState]] = {
    S.REQUESTED: frozenset({S.QUEUED, S.PREPARING, S.ENDING, S.FAILED}),
    S.QUEUED: frozenset({S.PREPARING, S.ENDING, S.FAILED}),
    S.PREPARING: frozenset({S.READY, S.QUEUED, S.ENDING, S.FAILED}),
    S.READY: frozenset({S.ENDING, S.FAILED}),
    S.ENDING: frozenset({S.ENDED}),
    S.ENDED: frozenset(),
    S.FAILED: frozenset(),
}
ACTIVE = (S.REQUESTED, S.QUEUED, S.PREPARING, S.READY)  # what counts against a quota
LIVE = (*ACTIVE, S.ENDING)


class UserSession(Base):
    """One user's desktop, from request to end. The wish is kept as asked, the reason as shown."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_state", "user_id", "state"),
        Index("ix_sessions_state", "state"),
        Index("ix_sessions_group_state", "group", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # it runs as, where handed over
    group: Mapped[str] = mapped_column(String(64), default="")  # of the owner's, the one that it counts for
    environment: Mapped[str] = mapped_column(String(40))
    wish: Mapped[dict[str, Any]]
    state: Mapped[SessionState] = mapped_column(String(16), default=S.REQUESTED)
    changed_at: Mapped[datetime] = mapped_column(default=now)
    requested_at: Mapped[datetime] = mapped_column(default=now)
    ready_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    pool: Mapped[str | None] = mapped_column(String(40))
    machine_id: Mapped[int | None] = mapped_column(ForeignKey("machines.id"), unique=True)
    reservation_id: Mapped[int | None] = mapped_column(ForeignKey("reservations.id"), index=True)  # its seat is of it
    bound_until: Mapped[datetime | None]  # it ends then, with its reservation, whatever its lease
    reason: Mapped[str] = mapped_column(Text, default="")
    end_reason: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(Text)
    password: Mapped[str | None] = mapped_column(
        String(64)
    )  # of the desktop; a gateway's and a file's, gone at the end
    tries: Mapped[int] = mapped_column(default=0)  # machines that were tried
    warned_minutes: Mapped[float | None]  # the last warning before the end that was given
    attempt: Mapped[int] = mapped_column(default=0)
    work_until: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]  # when its machine last told of its use
    last_active_at: Mapped[datetime | None]
    last_sign: Mapped[str | None] = mapped_column(String(64))  # what showed that: "input", "3.8 cores busy"
    work: Mapped[str | None] = mapped_column(String(64))  # the load that ran when it was last heard of
    idle_warned_at: Mapped[datetime | None]
    kept_at: Mapped[datetime | None]  # kept until the work ends: when work was last seen, or since the wish


class LaunchMark(Base):
    """When a launch reached a stage, in seconds since the click arrived; the first time counts."""

    __tablename__ = "launch_marks"

    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    environment: Mapped[str] = mapped_column(String(40))
    seconds: Mapped[float]


STAGES = ("chosen", "claimed", "attached", "ready", "ticket", "handshake", "first_frame")


def runs_as(user: type[User]) -> ColumnElement[bool]:
    """That the session runs under the account of this user: its owner's, unless it was handed over."""
    return user.id == func.coalesce(UserSession.account_id, UserSession.user_id)


def mark(db: Session, session: UserSession, stage: str, *, known_first: bool = False) -> None:
    """Note that the launch of `session` reached `stage` now, unless it did before; `known_first` spares the look."""
    if known_first or db.get(LaunchMark, (session.id, stage)) is None:
        seconds = (now() - session.requested_at).total_seconds()
        note(db, LaunchMark, session_id=session.id, stage=stage, environment=session.environment, seconds=seconds)
        events.changed(db, "launch", session.id)


_TABLE = UserSession.metadata.tables[UserSession.__tablename__]
KEEPS_REASON = (S.QUEUED, S.PREPARING)  # why this pool: shown to the user as the session's own reason


def move(
    db: Session,
    session: UserSession,
    after: SessionState,
    *,
    reason: str,
    actor: str = events.SYSTEM,
    **values: Any,
) -> None:
    """Move `session` to `after` and set `values`, or raise WrongState and change nothing.

    One statement, and the session then holds what it wrote: launches are counted in milliseconds.
    """
    before = SessionState(session.state)
    if after not in MOVES[before]:
        raise WrongState(f"Session {session.id} is {before}; it cannot become {after}.", hint="Reload the page.")
    db.flush()
    shown = {"reason": reason} if after in KEEPS_REASON else {}
    attempt = session.attempt + 1
    fresh = {"state": after, "changed_at": now(), "work_until": None, "attempt": attempt, **shown, **values}
    moved = db.connection().execute(
        update(_TABLE)
        .where(_TABLE.c.id == session.id, _TABLE.c.state == before, _TABLE.c.attempt == session.attempt)
        .values(fresh)
    )
    if moved.rowcount != 1:
        raise WrongState(f"Session {session.id} is no longer {before}.", hint="Reload the page.")
    if session in db:
        for name, value in fresh.items():
            set_committed_value(session, name, value)
    events.record(db, f"session:{after}", session.id, actor=actor, owner=session.user_id, before=before, reason=reason)
