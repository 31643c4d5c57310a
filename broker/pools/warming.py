"""Turns vacant machines of a base into those of an environment whose own pool is short: quicker than to build one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from sqlalchemy import or_, select

from broker.database import now
from broker.errors import WrongState
from broker.pools import images
from broker.pools.models import Machine, MachineState, move
from broker.pools.sizing import Counts, Plan
from broker.pools.warmth import Kind, Loan, Need, Shelf, share
from broker.runtime import Runtime
from broker.settings import PoolSettings, Settings

M = MachineState


def specialise(runtime: Runtime, wanted: Mapping[str, Plan], counts: Mapping[str, Counts]) -> list[Loan]:
    """Begin it for the pools that want to build, whether their clouds could or not; which machines are lent."""
    settings = runtime.settings
    if not settings.bases:
        return []
    needs = [
        Need(pool.name, kind, wanted[pool.name].build, counts[pool.name].queued, counts[pool.name].vacant)
        for pool in settings.pools.values()
        if (kind := _kind(settings, pool)) is not None
    ]
    shelves = [
        Shelf(pool.name, Kind(pool.environment, pool.size, pool.cloud), counts[pool.name].vacant)
        for pool in settings.pools.values()
        if pool.environment in settings.bases
    ]
    return [loan for loan in share(needs, shelves) if _lend(runtime, loan)]


def _kind(settings: Settings, pool: PoolSettings) -> Kind | None:
    """What the pool can borrow; None where its environment has no base."""
    environment = settings.environments.get(pool.environment)
    return Kind(environment.base, pool.size, pool.cloud) if environment is not None and environment.base else None


def _lend(runtime: Runtime, loan: Loan) -> bool:
    """Move one vacant machine of the shelf that is not just being probed; False where there is none any more."""
    pool = runtime.settings.pools[loan.pool]
    free = or_(Machine.work_until.is_(None), Machine.work_until < now())
    vacant = select(Machine).where(Machine.pool == loan.shelf, Machine.state == M.VACANT, free)
    with suppress(WrongState), runtime.database.transaction() as db:
        machine = db.scalar(vacant.order_by(Machine.id).limit(1))
        if machine is None:
            return False
        active = images.active(db, pool.environment, pool.cloud)
        move(
            db,
            machine,
            M.CONFIGURING,
            reason=loan.reason,
            pool=pool.name,
            environment=pool.environment,
            image=active.id if active is not None else None,
            requested_at=now(),  # from here on its time is the pool's
            vacant_at=None,
        )
        return True
    return False
