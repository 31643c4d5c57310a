"""Machines as administrators see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.database import now
from broker.pools.models import LIVE, Machine, MachineState
from broker.settings import Settings

M = MachineState


@dataclass(frozen=True)
class MachineCard:
    """One machine that is not gone. Ages in seconds; `evidence` says whether there is a picture of its last probe."""

    id: int
    name: str
    pool: str
    environment: str
    place: str
    size: str
    state: MachineState
    state_seconds: float
    age_seconds: float
    session: int | None
    address: str | None
    failure: str | None
    evidence: bool
    probed_at: datetime | None


def machines(db: Session, settings: Settings, *, limit: int = 500) -> list[MachineCard]:
    """The machines that are not gone, failed ones first, then the newest."""
    rows = db.scalars(
        select(Machine)
        .where(Machine.state.in_(LIVE))
        .order_by((Machine.state != M.FAILED), Machine.id.desc())
        .limit(limit)
    )
    moment = now()
    return [machine_card(settings, machine, moment) for machine in rows]


def machine_card(settings: Settings, machine: Machine, moment: datetime) -> MachineCard:
    """One machine as shown."""
    cloud = settings.clouds.get(machine.cloud)
    return MachineCard(
        id=machine.id,
        name=machine.name,
        pool=machine.pool,
        environment=machine.environment,
        place=cloud.title if cloud else machine.cloud,
        size=machine.size,
        state=M(machine.state),
        state_seconds=_since(machine.changed_at, moment),
        age_seconds=_since(machine.requested_at, moment),
        session=machine.session_id,
        address=machine.address,
        failure=machine.failure,
        evidence=machine.evidence is not None or machine.probed_at is not None,
        probed_at=machine.probed_at,
    )


def _since(begin: datetime, moment: datetime) -> float:
    return max(0.0, round((moment - begin).total_seconds(), 1))
