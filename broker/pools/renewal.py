"""Brings machines in use what they believe and show by the broker's authorities, where that has changed; and to their
doors another certificate long before theirs ends. What is open stays open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from broker.configuration import ca, desktop_ca, doors, identity
from broker.database import now
from broker.errors import BrokerError
from broker.pools.access import target
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime

log = structlog.get_logger()
M = MachineState
AGAIN = timedelta(minutes=1)  # after a machine that could not be told


def mark(secrets: Path) -> str:
    """A short name for what each machine is to be told now: whom it lets in and dials, and who signs for it."""
    trusted = ca.trusted(secrets)
    told = f"{trusted.users}\n{trusted.hosts}\n{desktop_ca.trusted(secrets)}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def stale(secrets: Path, *states: MachineState) -> tuple[ColumnElement[bool], ...]:
    """Conditions of the machines that were told something else; of those in use, where no states are given."""
    return Machine.state.in_(states or (M.VACANT, M.ACQUIRED)), Machine.told.is_distinct_from(mark(secrets))


def wanting(secrets: Path) -> tuple[ColumnElement[bool], ...]:
    """Conditions of the machines in use that were told something else, or whose doors need another certificate."""
    in_use, told = stale(secrets)
    return in_use, or_(told, Machine.doors_due <= now())


def doors_due() -> datetime:
    """When doors need another certificate that get one now."""
    return now() + desktop_ca.MACHINE_LIFE / 2


def behind(db: Session, secrets: Path) -> Sequence[Machine]:
    """All machines that were told something else, or are being built so. One that its cloud was not asked for yet
    will be told today's keys when it is."""
    alive = (M.BUILDING, M.PROVISIONED, M.CONFIGURING, M.VACANT, M.ACQUIRED)
    return db.scalars(select(Machine).where(*stale(secrets, *alive)).order_by(Machine.id)).all()


def renew(runtime: Runtime, machine: Machine) -> bool:
    """Tell the machine, as long as it is as it was; False where it cannot be told now."""
    settings = runtime.settings
    today = mark(settings.secrets_dir)
    values: dict[str, object] = {"told": today, "doors_due": doors_due()}
    try:
        identity.renew(settings.state_dir, target(machine))
        doors.lay(settings.state_dir, target(machine))
    except BrokerError as error:
        log.warning("machine.not-told", machine=machine.id, why=error.message)
        values = {"due_at": now() + AGAIN}
    with runtime.database.transaction() as db:
        same = (Machine.id == machine.id, Machine.attempt == machine.attempt)
        db.execute(update(Machine).where(*same).values(**values).execution_options(synchronize_session=False))
    return "told" in values
