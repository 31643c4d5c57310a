"""What pools hold: counting machines, offering them, and claiming one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Table, bindparam, case, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from broker import events
from broker.clouds.adapter import Room
from broker.database import now
from broker.pools import takeover
from broker.pools.allocation import Offer, Weights
from broker.pools.fairness import Shares
from broker.pools.forecast import Forecast
from broker.pools.models import COMING, LIVE, BuildTime, Machine, MachineState, Pool, PoolDemand, PoolMode
from broker.pools.reserving import Kept
from broker.pools.sizing import UNBOUNDED, Aim, Counts, Demand, goal
from broker.pools.standing import Standing, standings
from broker.pools.takeover import Share
from broker.settings import PoolSettings, Settings, SizeSettings

M = MachineState
RECENT_BUILDS = 20

# Statements of a launch are made once: putting one together costs as much as asking the database.
_MACHINES = Machine.metadata.tables[Machine.__tablename__]
_COUNTS = (
    select(_MACHINES.c.pool, _MACHINES.c.state, func.count())
    .where(_MACHINES.c.pool.in_(bindparam("pools", expanding=True)), _MACHINES.c.state.in_(LIVE))
    .group_by(_MACHINES.c.pool, _MACHINES.c.state)
)
_POOLS = select(Pool).where(Pool.name.in_(bindparam("pools", expanding=True)))


def _claim(machines: Table) -> ReturningUpdate[Any]:
    moment = bindparam("moment", type_=machines.c.changed_at.type)
    busy = case((machines.c.work_until > moment, 1), else_=0)
    vacant = select(machines.c.id).where(machines.c.pool == bindparam("of_pool"), machines.c.state == M.VACANT)
    pick = vacant.order_by(busy, machines.c.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()
    return (
        update(machines)
        .where(machines.c.id == pick, machines.c.state == M.VACANT)
        .values(
            state=M.ACQUIRED,
            session_id=bindparam("for_session"),
            changed_at=moment,
            work_until=None,
            attempt=machines.c.attempt + 1,
        )
        .returning(machines.c.id)
    )


_CLAIM = _claim(_MACHINES)


def counts(db: Session, pools: Iterable[str]) -> dict[str, Counter[MachineState]]:
    """For each pool, how many live machines it has in each state."""
    names = list(pools)
    found: dict[str, Counter[MachineState]] = {name: Counter() for name in names}
    rows = db.execute(_COUNTS, {"pools": names})
    for pool, state, number in rows:
        found[pool][MachineState(state)] = number
    return found


def counts_by_cloud(db: Session) -> defaultdict[str, Counter[MachineState]]:
    """For each cloud that has any, how many live machines it has in each state."""
    found: defaultdict[str, Counter[MachineState]] = defaultdict(Counter)
    live = select(Machine.cloud, Machine.state, func.count()).where(Machine.state.in_(LIVE))
    for cloud, state, number in db.execute(live.group_by(Machine.cloud, Machine.state)):
        found[cloud][MachineState(state)] = number
    return found


def counts_of(held: Mapping[MachineState, int], queued: int) -> Counts:
    """A pool's counts as sizing wants them."""
    return Counts(
        vacant=held.get(M.VACANT, 0),
        coming=sum(held.get(state, 0) for state in COMING),
        acquired=held.get(M.ACQUIRED, 0),
        failed=held.get(M.FAILED, 0),
        deleting=held.get(M.DELETING, 0),
        queued=queued,
    )


def wishes_of_administrators(db: Session, pools: Collection[str] | None = None) -> dict[str, Pool]:
    """The rows of `pools`, or of all, that say more than the settings, by name."""
    found = db.scalars(select(Pool)) if pools is None else db.scalars(_POOLS, {"pools": pools})
    return {pool.name: pool for pool in found}


def target_and_limit(settings: PoolSettings, pool: Pool | None) -> tuple[int, int]:
    """What the pool is kept at: an administrator's figures, or the settings'; nothing while it drains."""
    limit = settings.limit if pool is None or pool.limit is None else pool.limit
    target = settings.target if pool is None or pool.target is None else pool.target
    return (min(target, limit) if is_serving(pool) else 0), limit


def is_sound(settings: Settings, pool: Pool | None) -> bool:
    """Whether the pool serves, and did not fail again and again."""
    return is_serving(pool) and (pool is None or pool.failures < settings.times.degraded_after)


def is_serving(pool: Pool | None) -> bool:
    """Whether an administrator lets the pool serve."""
    return pool is None or pool.mode == PoolMode.SERVING


def free_builds(
    settings: Settings, held: Mapping[str, Mapping[MachineState, int]], clouds: Mapping[str, Standing]
) -> dict[str, int]:
    """How many machines each cloud may be asked for now: within its settings, and within what its quota leaves."""
    free = {name: cloud.concurrent_builds for name, cloud in settings.clouds.items()}
    for pool in settings.pools.values():
        free[pool.cloud] -= sum(held[pool.name].get(state, 0) for state in COMING)
    for name, standing in clouds.items():
        if standing.room.nodes is not None:
            free[name] = min(free[name], standing.room.nodes)
    return {name: max(0, number) for name, number in free.items()}


def fitting(room: Room, size: SizeSettings) -> int:
    """How many machines of this size the room has space for."""
    bounds = (
        room.nodes,
        None if room.cores is None else room.cores // size.cores,
        None if room.memory_gb is None else int(room.memory_gb // size.memory_gb),
    )
    return min((bound for bound in bounds if bound is not None), default=UNBOUNDED)


def taken_over(
    settings: Settings,
    held: Mapping[str, Mapping[MachineState, int]],
    wishes: Mapping[str, Pool],
    clouds: Mapping[str, Standing],
    demands: Mapping[str, Demand],
    kept: Kept,
) -> dict[str, int]:
    """How many machines more each pool keeps vacant in place of pools whose cloud is away or drained."""
    shares = []
    for pool in settings.pools.values():
        target, limit = target_and_limit(pool, wishes.get(pool.name))
        keep = min(limit, goal(target, demands.get(pool.name))) if is_serving(wishes.get(pool.name)) else 0
        size, mine = settings.sizes[pool.size], held[pool.name]
        vacant = mine.get(M.VACANT, 0) if not clouds[pool.cloud].draining else 0
        shares.append(
            Share(
                pool=pool.name,
                environment=pool.environment,
                size=(size.gpus, size.cores, size.memory_gb),
                serving=clouds[pool.cloud].in_service and is_sound(settings, wishes.get(pool.name)),
                missing=max(0, keep - vacant),
                room=limit - keep - kept.reserved(pool.name)[0] - mine.get(M.ACQUIRED, 0),
                architecture=size.architecture,
                gpu_model=size.gpu_model,
                groups=pool.groups,
            )
        )
    return takeover.taken_over(shares)


def aim_of(settings: PoolSettings) -> Aim:
    """What sizing by demand is to reach for the pool."""
    return Aim(settings.wait_chance, settings.most_vacant, settings.worth_hours)


def demand_of(settings: PoolSettings, row: PoolDemand) -> Demand:
    """The pool's demand as it was written down."""
    return Demand(Forecast(row.launches, row.shape, row.seconds), row.needed, row.kept, aim_of(settings))


def demands(db: Session, settings: Settings) -> dict[str, Demand]:
    """What is expected of each pool that is sized by demand, as its keeper last wrote it down."""
    pools = settings.pools
    rows = [row for row in db.scalars(select(PoolDemand)) if row.pool in pools]
    return {row.pool: demand_of(pools[row.pool], row) for row in rows if pools[row.pool].sizing == "demand"}


def offers(db: Session, settings: Settings, environment: str | None = None) -> list[Offer]:
    """Every pool of `environment` (or all) as it stands now; a base's is nobody's to ask for."""
    pools = [p for p in settings.pools.values() if environment in (None, p.environment)]
    pools = [pool for pool in pools if pool.environment not in settings.bases]
    names = [pool.name for pool in pools]
    held, wishes, clouds = counts(db, names), wishes_of_administrators(db, names), standings(db, settings)
    expected = _expected(db, pools)
    made = (_offer(settings, pool, held[pool.name], wishes.get(pool.name), clouds[pool.cloud]) for pool in pools)
    return [replace(offer, demand=expected[offer.pool]) if offer.pool in expected else offer for offer in made]


def _expected(db: Session, pools: Iterable[PoolSettings]) -> dict[str, float]:
    """The launches that are expected until a pool is refilled, of those sized by demand."""
    by_demand = [pool.name for pool in pools if pool.sizing == "demand"]
    if not by_demand:
        return {}
    return dict(db.execute(select(PoolDemand.pool, PoolDemand.launches).where(PoolDemand.pool.in_(by_demand))).all())


def _offer(
    settings: Settings, pool: PoolSettings, held: Mapping[MachineState, int], wish: Pool | None, standing: Standing
) -> Offer:
    size, cloud = settings.sizes[pool.size], settings.clouds[pool.cloud]
    _, limit = target_and_limit(pool, wish)
    return Offer(
        pool=pool.name,
        environment=pool.environment,
        location=cloud.location,
        place=cloud.title,
        cores=size.cores,
        memory_gb=size.memory_gb,
        gpus=size.gpus,
        vacant=held.get(M.VACANT, 0),
        coming=sum(held.get(state, 0) for state in COMING),
        room=max(0, limit - sum(held.values())) if standing.in_service else 0,
        limit=limit,
        serving=is_serving(wish),
        gpu_model=size.gpu_model,
        architecture=size.architecture,
        groups=pool.groups,
        cost=pool.cost,
        preemptible=pool.preemptible,
        away="its cloud is being drained" if standing.draining else "",
        health=standing.health,
    )


def weights(settings: Settings) -> Weights:
    """How the settings weigh pools."""
    return Weights(**settings.allocation.model_dump())


def shares(settings: Settings) -> Shares:
    """What the settings entitle groups to."""
    return Shares(settings.shares, settings.limits.minutes_per_machine)


def claim(db: Session, pool: str, session_id: int) -> int | None:
    """Give one vacant machine of `pool` to the session, for ever; its id, or None where none is vacant.

    One statement, so that no machine is given twice: PostgreSQL passes over rows that others hold locked, SQLite
    has one writer at a time. Machines that are just being probed come last.
    """
    machine_id: int | None = db.connection().scalar(
        _CLAIM, {"of_pool": pool, "moment": now(), "for_session": session_id}
    )
    if machine_id is not None:
        events.record(db, "machine:acquired", machine_id, before=M.VACANT, session=session_id, pool=pool)
        events.changed(db, "pool", pool)
    return machine_id


def build_seconds(db: Session, pool: str) -> float | None:
    """The median of the pool's recent build times, or None where it never built one."""
    recent = sorted(recent_builds(db, pool))
    return recent[len(recent) // 2] if recent else None


def lead_seconds(db: Session, pool: str) -> float | None:
    """The mean of the pool's recent build times, which sizing asks for, or None where it never built one."""
    recent = recent_builds(db, pool)
    return sum(recent) / len(recent) if recent else None


def recent_builds(db: Session, pool: str) -> list[float]:
    """How long the pool's last machines took to build, in seconds, the newest first."""
    newest = select(BuildTime.seconds).where(BuildTime.pool == pool).order_by(BuildTime.id.desc())
    return list(db.scalars(newest.limit(RECENT_BUILDS)))
