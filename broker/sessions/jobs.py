"""RQ's entry points for sessions: finish what is ending, show a notice in a desktop, ask machines how idle they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from agents.protocol import Nothing, NotifyRequest, StatusAnswer
from broker import jobs, metrics, work
from broker.errors import BrokerError
from broker.pools.access import agent
from broker.pools.models import Machine
from broker.runtime import Runtime, current
from broker.sessions import idle, idleness, service
from broker.sessions.models import SessionState, UserSession

log = structlog.get_logger()
ASKED_AT_ONCE = 8


def enqueue_finish(runtime: Runtime, session: UserSession) -> None:
    """Queue the finishing of an ending session; where Redis is away the manager does it later."""
    with metrics.redis_may_be_away():
        job_id = f"finish_session-{session.id}-{session.attempt}"
        jobs.enqueue(runtime.redis, "desktops", job_id, finish_session, session.id, session.attempt, timeout=120)


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
    machine = _machine_of(runtime, session_id)
    if machine is None:
        return
    with metrics.swallowed("notify"):
        agent(runtime, machine, "notify", NotifyRequest(title, text, "critical"), Nothing, timeout=20)


def ask_machines(session_ids: list[int]) -> None:
    """Ask the machines of these sessions how they are used, several at a time, and do what follows from it."""
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="ask") as threads:
        list(threads.map(partial(_ask, current()), session_ids))


def _ask(runtime: Runtime, session_id: int) -> None:
    """One that does not answer is left as it is: it is not known to be idle."""
    with metrics.swallowed("idle"):
        machine = _machine_of(runtime, session_id)
        if machine is None:
            return
        try:
            answer = agent(runtime, machine, "status", Nothing(), StatusAnswer, timeout=10)
        except BrokerError as error:
            log.info("session.use.unknown", session=session_id, error=error.message)
            return
        left = idle.hear(runtime, session_id, answer)
        if left is not None:
            title = f"Idle: this session ends in {idleness.length(left)}"
            notify_session(session_id, title, "Press a key or move the mouse to keep it.")


def _machine_of(runtime: Runtime, session_id: int) -> Machine | None:
    """The machine of a ready session."""
    with runtime.database.reading() as db:
        session = db.get_one(UserSession, session_id)
        ready = session.state == SessionState.READY and session.machine_id is not None
        return db.get(Machine, session.machine_id) if ready else None
