"""RQ's entry points for sessions: finish what is ending, show a notice in a desktop."""

from __future__ import annotations

import structlog
from redis.exceptions import RedisError

from agents.protocol import Nothing, NotifyRequest
from broker import jobs, metrics, work
from broker.errors import BrokerError
from broker.pools.access import agent
from broker.pools.models import Machine
from broker.runtime import Runtime, current
from broker.sessions import service
from broker.sessions.models import SessionState, UserSession

log = structlog.get_logger()


def enqueue_finish(runtime: Runtime, session: UserSession) -> None:
    """Queue the finishing of an ending session; where Redis is away the manager does it later."""
    try:
        job_id = f"finish_session-{session.id}-{session.attempt}"
        jobs.enqueue(runtime.redis, "desktops", job_id, finish_session, session.id, session.attempt, timeout=120)
    except RedisError as error:
        log.warning("redis.away", error=str(error))
        metrics.SWALLOWED.labels("redis").inc()


def finish_session(session_id: int, attempt: int) -> None:
    """Put the user's files away on the machine, then end the session and let the machine go. Safe to run twice."""
    runtime = current()
    with work.held(runtime.database, UserSession, session_id, attempt) as ours:
        if not ours:
            return
        with runtime.database.reading() as db:
            session = db.get_one(UserSession, session_id)
            machine = db.get(Machine, session.machine_id) if session.machine_id else None
        if session.state != SessionState.ENDING:
            return
        if machine is not None:
            _detach(runtime, machine)
        with runtime.database.transaction() as db:
            service.finish(db, db.get_one(UserSession, session_id))


def _detach(runtime: Runtime, machine: Machine) -> None:
    """A machine that does not answer has nothing more to put away: the home is the store's own."""
    try:
        agent(runtime, machine, "detach", Nothing(), Nothing, timeout=30)
    except BrokerError as error:
        log.warning("session.detach.failed", machine=machine.id, error=error.message)
        metrics.SWALLOWED.labels("detach").inc()


def notify_session(session_id: int, title: str, text: str) -> None:
    """Show a notice in the session's desktop; the portal shows it too, so one that fails is only logged."""
    runtime = current()
    with runtime.database.reading() as db:
        session = db.get_one(UserSession, session_id)
        machine = db.get(Machine, session.machine_id) if session.machine_id else None
    if machine is None or session.state != SessionState.READY:
        return
    with metrics.swallowed("notify"):
        agent(runtime, machine, "notify", NotifyRequest(title, text, "critical"), Nothing, timeout=20)
