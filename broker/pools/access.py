"""Reaching a machine's agent, and keeping a pool's count of failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from agents.protocol import Message
from broker import database, events
from broker.configuration import ssh
from broker.configuration.ssh import SshTarget
from broker.database import now
from broker.errors import MachineUnreachable, WrongState
from broker.pools import breaker
from broker.pools.models import Machine, Pool
from broker.runtime import Runtime
from broker.settings import Settings

log = structlog.get_logger()
Answer = TypeVar("Answer", bound=Message)


def target(machine: Machine) -> SshTarget:
    """Where and how the machine is reached over SSH, its host key pinned to what its cloud reported."""
    if not machine.address or not machine.host_key:
        raise MachineUnreachable(f"Machine {machine.id} has no address yet.")
    return SshTarget(machine.address, machine.host_key, machine.name, machine.ssh_port)


def agent(
    runtime: Runtime, machine: Machine, verb: str, request: Message, answer: type[Answer], *, timeout: float = 30
) -> Answer:
    """Ask the machine's agent; MachineUnreachable or AgentRefused where it does not answer as it should."""
    return ssh.agent(runtime.settings.state_dir, target(machine), verb, request, answer, timeout=timeout)


def change(runtime: Runtime, machine_id: int, how: Callable[[Session, Machine], None]) -> None:
    """Change one machine in one transaction; one that has moved on meanwhile is left alone."""
    try:
        with runtime.database.transaction() as db:
            how(db, db.get_one(Machine, machine_id))
    except WrongState as error:
        log.info("machine.moved-on", machine=machine_id, why=error.message)


def settle(db: Session, settings: Settings, pool_name: str, failure: str | None) -> None:
    """Count a failed machine of the pool, or forget the failures where `failure` is None.

    After a failure the pool builds no machine for a while that doubles each time; after some it is shown as
    degraded, with the reason.
    """
    pool = row(db, pool_name)
    was = pool.failures
    pool.failures = 0 if failure is None else was + 1
    pool.failure = failure
    pool.retry_at = breaker.again_at(settings.times, pool.failures) if failure is not None else None
    if pool.failures == settings.times.degraded_after:
        events.record(db, "pool:degraded", pool_name, failure=failure, failures=pool.failures)
    elif failure is None and was >= settings.times.degraded_after:
        events.record(db, "pool:recovered", pool_name)
    events.changed(db, "pool", pool_name)


def hold_up(db: Session, settings: Settings, pool_name: str, failure: str) -> None:
    """Count a machine of the pool that its cloud did not build, and is asked for again; all of one pause are one."""
    retry_at = row(db, pool_name).retry_at
    if retry_at is None or retry_at <= now():
        settle(db, settings, pool_name, failure)


def row(db: Session, name: str) -> Pool:
    """The pool's row, made where it does not exist yet, and nobody else's to change until the transaction ends."""
    database.hold(db, f"pool {name}")
    pool = db.get(Pool, name, populate_existing=True)
    if pool is None:
        pool = Pool(name=name, failures=0)
        db.add(pool)
        db.flush()
    return pool
