"""From a claimed machine to a painted desktop.

The web process prepares the sessions that it launched, in threads of its own, so that no queue stands on the way
to a desktop. Each step may be done twice: where the process dies in between, the manager prepares again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.orm import Session

from agents.protocol import AttachAnswer, AttachRequest
from broker import metrics, work
from broker.clouds.adapter import open_cloud
from broker.database import now
from broker.errors import BrokerError, CloudFault, MachineFault, WrongState
from broker.pools.access import agent, settle
from broker.pools.models import Machine, MachineState
from broker.pools.models import move as move_machine
from broker.runtime import Runtime
from broker.sessions import claims, leases, service
from broker.sessions.models import SessionState, UserSession, mark, move
from broker.storage import homes
from broker.storage.homes import Home

log = structlog.get_logger()

S = SessionState
GEOMETRY = "1600x900"  # of the fresh desktop; the browser's page resizes it to its window
TRIES = 3


class Launcher:
    """Prepares sessions in threads of this process."""

    def __init__(self, runtime: Runtime, threads: int = 16) -> None:
        self._runtime = runtime
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="launch")

    def start(self, session_id: int) -> None:
        """Prepare the session soon; at once where a thread is free."""
        self._threads.submit(self._prepare, session_id)

    def _prepare(self, session_id: int) -> None:
        """What nobody foresaw is logged: the manager finds the session left alone, and has it prepared again."""
        with metrics.swallowed("launch"):
            prepare(self._runtime, session_id)

    def stop(self) -> None:
        """Take no more work; what runs is finished, what waits is left to the manager."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def prepare(runtime: Runtime, session_id: int) -> None:
    """Bring the session from preparing to ready, on another machine where one fails. Safe to run twice, or by two."""
    for attempt in _attempts(runtime, session_id):
        with work.held(runtime.database, UserSession, session_id, attempt) as ours:
            if not ours:
                return
            try:
                _attach(runtime, session_id)
                _become_ready(runtime, session_id, attempt)
            except WrongState as error:
                log.info("session.launch.overtaken", session=session_id, why=str(error))
            except (MachineFault, CloudFault) as error:
                _take_another_machine(runtime, session_id, attempt, error)


def _attempts(runtime: Runtime, session_id: int) -> Iterator[int]:
    """The session's attempt number, again and again while it is being prepared and moves on."""
    last = -1
    while True:
        with runtime.database.reading() as db:
            session = db.get_one(UserSession, session_id)
            if session.state != S.PREPARING or session.attempt == last:
                return
            last = session.attempt
        yield last


def _attach(runtime: Runtime, session_id: int) -> None:
    with runtime.database.reading() as db:
        session = db.get_one(UserSession, session_id)
        machine = db.get_one(Machine, session.machine_id)
        user = service.account_of(db, session)
    cloud = open_cloud(runtime.settings.clouds[machine.cloud])
    home = Home(user.name, user.uid)
    began = time.monotonic()
    homes.attach(cloud, machine.node_id or "", home)
    home_seconds = round(time.monotonic() - began, 3)
    request = AttachRequest(
        session=str(session.id),
        user=user.name,
        uid=user.uid,
        full_name=user.full_name,
        password=session.password or "",
        home=home.path,
        geometry=GEOMETRY,
        lease_ends=leases.first_end(runtime.settings, session).isoformat(),
        principals=(principal(session.id),),
    )
    answer = agent(runtime, machine, "attach", request, AttachAnswer, timeout=runtime.settings.times.attach_timeout)
    spent = {"home_seconds": home_seconds, "seconds": round(time.monotonic() - began, 3), "timings": answer.timings}
    log.info("session.attached", session=session.id, machine=machine.id, **spent)
    with runtime.database.transaction() as db:
        mark(db, session, "attached")


def principal(session_id: int) -> str:
    """The name that an SSH certificate for this session carries."""
    return f"session-{session_id}"


def _become_ready(runtime: Runtime, session_id: int, attempt: int) -> None:
    with runtime.database.transaction() as db:
        session = _still(db, session_id, attempt)
        ends = leases.first_end(runtime.settings, session)
        move(db, session, S.READY, reason="the desktop is painted", ready_at=now(), expires_at=ends)
        mark(db, session, "ready")


def _still(db: Session, session_id: int, attempt: int) -> UserSession:
    session = db.get_one(UserSession, session_id)
    if session.attempt != attempt:
        raise WrongState(f"Session {session_id} moved on while its desktop was being started.")
    return session


def _take_another_machine(runtime: Runtime, session_id: int, attempt: int, error: BrokerError) -> None:
    """Quarantine the machine that failed; claim another, wait for one, or give up after some tries."""
    log.warning("session.launch.failed", session=session_id, error=error.message, hint=error.hint)
    with runtime.database.transaction() as db:
        session = db.get_one(UserSession, session_id)
        claims.hold(db, runtime.settings, session)
        if session.attempt != attempt:
            return
        machine = db.get_one(Machine, session.machine_id)
        if machine.state == MachineState.ACQUIRED:
            move_machine(db, machine, MachineState.FAILED, reason=error.message, failure=error.message)
            settle(db, runtime.settings, machine.pool, error.message)
        wish = claims.wish_of(session)
        if wish.pool is not None:  # who asked was told this machine's address
            service.fail(db, session, error.message)
            return
        if session.tries >= TRIES:
            service.fail(
                db, session, f"{TRIES} machines in turn could not start the desktop. The last: {error.message}"
            )
            return
        move(db, session, S.QUEUED, reason=f"machine {machine.id} failed: {error.message}", machine_id=None)
        claims.claim_for(db, runtime.settings, session, *claims.open_to(db, runtime.settings, session))
