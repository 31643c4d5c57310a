"""What happens to sessions without anybody's click: the queue moves, leases are warned of and end, and what a
process left half-done when it died is taken up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, select

from broker import events, jobs, metrics, work
from broker.connections import tickets
from broker.database import now
from broker.pools import allocation, stock
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime
from broker.sessions import claims, rules, service, waiting
from broker.sessions.idle import Rounds
from broker.sessions.jobs import ask_machines, enqueue_finish, notify_session
from broker.sessions.launch import Launcher
from broker.sessions.models import SessionState, UserSession

log = structlog.get_logger()
S = SessionState
ABANDONED_AFTER = timedelta(seconds=10)
FORGET_EVERY = timedelta(minutes=10)
ASKED_TOGETHER = 32  # sessions in one job


class SessionUpkeep:
    """One pass over all sessions, by the manager."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._launcher = Launcher(runtime)
        self._rounds = Rounds()
        self._forget_at = now()

    def tend(self) -> Counter[str]:
        """One pass; how many sessions still wait, by the pool that they wait for."""
        for step in (self._expire, self._warn, self._ask, self._give_up_lost, self._resume, self._finish, self._forget):
            with metrics.swallowed(f"sessions{step.__name__}"):
                step()
        return self._serve_queue()

    def _serve_queue(self) -> Counter[str]:
        """Give vacant machines to those who wait, in the order that is fair; nobody overtakes for the same pool."""
        still: Counter[str] = Counter()
        with self._runtime.database.reading() as db:
            line = waiting.line_up(db, self._runtime.settings)
        for waiter in line:
            with metrics.swallowed("queue"):
                pool = self._serve(waiter.id)
                if pool is not None:
                    still[pool] += 1
        return still

    def _serve(self, session_id: int) -> str | None:
        """Claim a machine for it; the pool that it still waits for, or None where it waits no longer."""
        settings = self._runtime.settings
        with self._runtime.database.transaction() as db:
            session = db.get_one(UserSession, session_id)
            if session.state != S.QUEUED:
                return None
            wish, offers = claims.open_to(db, settings, session)
            if not claims.claim_for(db, settings, session, wish, offers):
                self._follow(session, allocation.choose(wish, offers, stock.weights(settings)))
                return session.pool or ""
        self._launcher.start(session_id)
        return None

    def _follow(self, session: UserSession, choice: allocation.Choice | allocation.Refusal) -> None:
        """Wait where the best chance is now; pools may have been drained or resized meanwhile."""
        reason = choice.reason
        if isinstance(choice, allocation.Choice):
            session.pool = choice.pool
        if session.reason != reason:
            session.reason = reason

    def _expire(self) -> None:
        for found in self._all(UserSession.state == S.READY, UserSession.expires_at <= now()):
            with self._runtime.database.transaction() as db:
                session = db.get_one(UserSession, found.id)
                if session.state == S.READY and session.expires_at is not None and session.expires_at <= now():
                    bound = session.bound_until is not None and session.bound_until <= now()
                    service.close(db, session, reason="its course is over" if bound else "its lease is over")

    def _warn(self) -> None:
        """Warn of the end in the desktop; the portal shows it by itself."""
        warn = self._runtime.settings.leases.warn_minutes
        soon = now() + timedelta(minutes=max(warn, default=0))
        for found in self._all(UserSession.state == S.READY, UserSession.expires_at <= soon):
            if _warning_due(found, warn) is None:
                continue
            with self._runtime.database.transaction() as db:
                session = db.get_one(UserSession, found.id, with_for_update=True)
                minutes = _warning_due(session, warn)  # it may have been extended, or ended, meanwhile
                if minutes is None:
                    continue
                session.warned_minutes = minutes
                events.record(db, "session:warn", session.id, owner=session.user_id, minutes=minutes)
            self._notify(session)

    def _notify(self, session: UserSession) -> None:
        minutes = max(1, round(_left(session).total_seconds() / 60))
        bound = session.bound_until is not None and session.expires_at == session.bound_until
        text = "The course ends: save your work." if bound else "Save your work, or extend the session in the portal."
        title = f"This session ends in {minutes} minute{'s' if minutes > 1 else ''}"
        job_id = f"notify-{session.id}-{minutes}"
        with metrics.redis_may_be_away():
            jobs.enqueue(self._runtime.redis, "desktops", job_id, notify_session, session.id, title, text, timeout=60)

    def _ask(self) -> None:
        """Have machines asked how they are used; idle sessions are warned and ended where one has answered."""
        due = self._rounds.due(self._runtime)
        for some in (due[i : i + ASKED_TOGETHER] for i in range(0, len(due), ASKED_TOGETHER)):
            job_id = f"ask_machines-{'-'.join(map(str, some))}"
            with metrics.redis_may_be_away():
                jobs.enqueue(self._runtime.redis, "probes", job_id, ask_machines, some, timeout=120)

    def _give_up_lost(self) -> None:
        """End sessions whose machine is gone; one that is still being prepared is helped by its launch."""
        with self._runtime.database.reading() as db:
            lost = db.execute(
                select(UserSession.id, Machine.failure)
                .join(Machine, Machine.id == UserSession.machine_id)
                .where(UserSession.state == S.READY, Machine.state != MachineState.ACQUIRED)
            ).all()
        for session_id, failure in lost:
            with self._runtime.database.transaction() as db:
                session = db.get_one(UserSession, session_id)
                if session.state == S.READY:
                    service.fail(db, session, f"its machine was lost: {failure or 'it was removed'}")

    def _resume(self) -> None:
        """Prepare again what nobody works on any more: the process that launched it died."""
        abandoned = now() - ABANDONED_AFTER
        for session in self._all(UserSession.state == S.PREPARING):
            if session.work_until is not None and session.work_until < now():
                work.start_anew(self._runtime.database, UserSession, session.id, session.attempt)
            elif session.work_until is not None or session.changed_at > abandoned:
                continue
            log.info("session.launch.resumed", session=session.id)
            self._launcher.start(session.id)

    def _finish(self) -> None:
        for session in self._all(UserSession.state == S.ENDING):
            if session.work_until is not None:
                if session.work_until > now():
                    continue
                fresh = work.start_anew(self._runtime.database, UserSession, session.id, session.attempt)
                if fresh is None:
                    continue
                session.attempt = fresh
            enqueue_finish(self._runtime, session)

    def _forget(self) -> None:
        if now() < self._forget_at:
            return
        self._forget_at = now() + FORGET_EVERY
        with self._runtime.database.transaction() as db:
            tickets.forget_old(db)

    def _all(self, *rules_: ColumnElement[bool]) -> list[UserSession]:
        """The sessions of which these hold, oldest first."""
        with self._runtime.database.reading() as db:
            return list(db.scalars(select(UserSession).where(*rules_).order_by(UserSession.id)))


def _left(session: UserSession) -> timedelta:
    """Until a ready session's lease ends."""
    return (session.expires_at or now()) - now()


def _warning_due(session: UserSession, warn_minutes: Sequence[float]) -> float | None:
    """The warning of its lease's end that a session needs now, in minutes before the end."""
    ready = session.state == S.READY
    return rules.warning_due(_left(session), session.warned_minutes, warn_minutes) if ready else None
