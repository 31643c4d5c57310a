"""How each cloud stands: written by whoever asked it last, read by all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import events
from broker.clouds.adapter import Room
from broker.database import now
from broker.errors import CloudFault
from broker.pools.breaker import Breaker, again_at, breaker
from broker.pools.models import CloudStanding, Machine, MachineState, Pool, PoolMode
from broker.runtime import Runtime
from broker.settings import PoolSettings, PoolTimes, Settings

M = MachineState


@dataclass(frozen=True)
class Standing:
    """One cloud at one moment. `pausing` says that nothing is to be asked of it now."""

    breaker: Breaker = Breaker.CLOSED
    pausing: bool = False
    draining: bool = False
    faults: int = 0
    room: Room = field(default_factory=Room)

    @property
    def in_service(self) -> bool:
        """Whether machines may be asked of it."""
        return self.breaker is Breaker.CLOSED and not self.draining

    @property
    def health(self) -> float:
        """From 0, away, to 1, no fault since it was asked last."""
        if self.breaker is not Breaker.CLOSED:
            return 0.0
        return 1.0 / (1 + self.faults)


def standings(db: Session, settings: Settings) -> dict[str, Standing]:
    """Every cloud of the settings."""
    rows = rows_by_name(db)
    moment = now()
    return {name: _standing(rows.get(name), settings.times, moment) for name in settings.clouds}


def rows_by_name(db: Session) -> Mapping[str, CloudStanding]:
    """What is written of clouds; one that never failed nor was drained may have no row."""
    return {row.name: row for row in db.scalars(select(CloudStanding))}


def _standing(row: CloudStanding | None, times: PoolTimes, moment: datetime) -> Standing:
    if row is None:
        return Standing()
    return Standing(
        breaker=breaker(row.faults, row.retry_at, moment, away_after=times.away_after),
        pausing=row.retry_at is not None and row.retry_at > moment,
        draining=row.mode == PoolMode.DRAINING,
        faults=row.faults,
        room=Room(row.room_nodes, row.room_cores, row.room_memory_gb),
    )


def row(db: Session, name: str) -> CloudStanding:
    """The cloud's row, made where it does not exist yet, and held until the transaction ends."""
    found = db.get(CloudStanding, name, with_for_update=True)
    if found is None:
        found = CloudStanding(name=name, faults=0)
        db.add(found)
        db.flush()
    return found


def note_fault(runtime: Runtime, name: str, error: CloudFault) -> None:
    """Count a fault of the cloud; nobody asks it again for a while that grows.

    What was asked at the same time and failed alike is one fault.
    """
    times = runtime.settings.times
    with runtime.database.transaction() as db:
        cloud = row(db, name)
        if cloud.retry_at is not None and cloud.retry_at > now():
            cloud.retry_at = max(cloud.retry_at, again_at(times, 0, _wished(error)))
            return
        cloud.faults += 1
        cloud.fault = error.message
        cloud.fault_at = cloud.fault_at or now()
        cloud.retry_at = again_at(times, cloud.faults, _wished(error))
        if cloud.faults == times.away_after:
            events.record(db, "cloud:away", name, fault=error.message, faults=cloud.faults)
        events.changed(db, "cloud", name)


def note_success(runtime: Runtime, name: str) -> None:
    """The cloud listed its machines: what was held against it is forgotten.

    Where it was away, what waited for it goes on at once. Else each machine keeps its own pauses: a cloud may list, and
    yet build or remove nothing.
    """
    with runtime.database.transaction() as db:
        cloud = row(db, name)
        if cloud.faults >= runtime.settings.times.away_after:
            events.record(db, "cloud:back", name, faults=cloud.faults)
            go_on(db, runtime.settings, name)
        cloud.faults, cloud.fault, cloud.fault_at, cloud.retry_at = 0, None, None, None
        events.changed(db, "cloud", name)


def go_on(db: Session, settings: Settings, name: str) -> None:
    """End the pauses of the cloud's machines and pools, and count none of the time while they waited."""
    waiting = Machine.state.in_((M.REQUESTED, M.BUILDING, M.DELETING))
    db.execute(update(Machine).where(Machine.cloud == name, waiting).values(changed_at=now(), due_at=None, tries=0))
    mine = [pool.name for pool in settings.pools.values() if pool.cloud == name]
    db.execute(update(Pool).where(Pool.name.in_(mine)).values(retry_at=None))


def ask_again(runtime: Runtime, before: Settings) -> None:
    """After the settings were `before`: clouds and pools whose entries are others now may work, so they do not wait."""
    after = runtime.settings
    clouds = [name for name, cloud in after.clouds.items() if cloud != before.clouds.get(name)]
    pools = [pool.name for pool in after.pools.values() if _entries(after, pool) != _entries(before, pool)]
    with runtime.database.transaction() as db:
        db.execute(update(CloudStanding).where(CloudStanding.name.in_(clouds)).values(retry_at=None))
        db.execute(update(Pool).where(Pool.name.in_(pools)).values(retry_at=None))
        for name in clouds:
            go_on(db, after, name)


def _entries(settings: Settings, pool: PoolSettings) -> tuple[object, ...]:
    """All that the settings say of how a machine of the pool is made."""
    return (
        settings.pools.get(pool.name),
        settings.clouds.get(pool.cloud),
        settings.sizes.get(pool.size),
        settings.environments.get(pool.environment),
        settings.bases.get(pool.environment),
    )


def note_room(runtime: Runtime, name: str, room: Room) -> None:
    """What the cloud's quota leaves now."""
    with runtime.database.transaction() as db:
        cloud = row(db, name)
        if (cloud.room_nodes, cloud.room_cores, cloud.room_memory_gb) != (room.nodes, room.cores, room.memory_gb):
            cloud.room_nodes, cloud.room_cores, cloud.room_memory_gb = room.nodes, room.cores, room.memory_gb
            events.changed(db, "cloud", name)


def postpone(db: Session, times: PoolTimes, machine: Machine, error: CloudFault | None = None) -> None:
    """The machine stays as it is, and its cloud is asked again for what it needs after a while that grows."""
    machine.tries += 1
    machine.due_at = again_at(times, machine.tries, _wished(error) if error is not None else None)


def _wished(error: CloudFault) -> float | None:
    """When the cloud itself wants to be asked again, in seconds."""
    return error.facts.get("retry_after")
