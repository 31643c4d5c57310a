"""Keeps the pools: one pass compares clouds, machines and targets, and queues what is to be done.

A pass may end anywhere: everything it does is written before it is done, and the next pass sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from broker import events, jobs, metrics, work
from broker.database import now
from broker.pools import bookings, images, rolling, sizing, stock, warming
from broker.pools import jobs as machine_jobs
from broker.pools.access import change
from broker.pools.bookings import TakenSeats
from broker.pools.breaker import Breaker
from broker.pools.inventory import Inventory
from broker.pools.models import COMING, Machine, MachineState, Pool, move
from broker.pools.outlook import Fresh, Outlook
from broker.pools.sizing import Counts, Demand, More
from broker.pools.standing import Standing, standings
from broker.runtime import Runtime
from broker.settings import PoolSettings, Settings

M = MachineState


class PoolManager:
    """The pools' keeper; one at a time is at work in a deployment."""

    def __init__(self, runtime: Runtime, launches: Fresh = tuple, taken: TakenSeats = bookings.nobody) -> None:
        """`launches` gives the launches since it was last asked, for pools that are sized by demand; `taken` the seats
        of reservations that are taken."""
        self._runtime, self._taken = runtime, taken
        self._outlook = Outlook(runtime, launches)
        self._inventory = Inventory(runtime)

    @property
    def _settings(self) -> Settings:
        return self._runtime.settings

    def tend(self, queued: Mapping[str, int]) -> None:
        """One pass; `queued` counts the sessions that wait, by pool."""
        self._inventory.take(self._standings())
        standings_now = self._standings()
        self._clear_away()
        rolling.advance(self._runtime, standings_now)
        self._fill(queued, standings_now)
        self._queue_work(standings_now)

    def _standings(self) -> dict[str, Standing]:
        with self._runtime.database.reading() as db:
            return standings(db, self._settings)

    def _clear_away(self) -> None:
        """Failed machines go when their evidence was kept long enough; vacant ones when their pool is no more."""
        keep_until = now() - timedelta(seconds=self._settings.times.keep_failed)
        with self._runtime.database.reading() as db:
            failed = select(Machine).where(Machine.state == M.FAILED)
            old = [m for m in db.scalars(failed) if m.node_id is None or m.changed_at < keep_until]
            unused = Machine.state.in_((*COMING, M.VACANT))
            stray = list(db.scalars(select(Machine).where(unused, Machine.pool.not_in(self._settings.pools))))
        for machine, reason in [(m, "its evidence was kept long enough") for m in old] + [
            (m, "its pool is no longer in the settings") for m in stray
        ]:
            change(self._runtime, machine.id, _to(M.DELETING, reason))

    def _fill(self, queued: Mapping[str, int], clouds: Mapping[str, Standing]) -> None:
        """Build what is missing and let go what is too much, a batch at a time."""
        with self._runtime.database.reading() as db:
            held = stock.counts(db, self._settings.pools)
            shown = rolling.without_replacements(db, self._settings, held)
            wishes = stock.wishes_of_administrators(db)
            kept = bookings.kept(db, self._settings, bookings.live(db), self._taken)
        settings, demands, moment = self._settings, self._outlook.demands(), now()
        pools, free = settings.pools, stock.free_builds(settings, held, clouds)
        extra = bookings.more(kept, stock.taken_over(settings, held, wishes, clouds, demands, kept), pools)
        counts = {name: stock.counts_of(shown[name], queued.get(name, 0)) for name in pools}

        def planned(pool: PoolSettings, batch: int) -> sizing.Plan:
            name, cloud = pool.name, clouds[pool.cloud]
            more, demand = extra[name], demands.get(name)
            return plan_for(pool, counts[name], wishes.get(name), cloud, batch, moment, more=more, demand=demand)

        sizes = settings.sizes
        lacks = {
            name: planned(pool, stock.fitting(clouds[pool.cloud].room, sizes[pool.size])).build
            for name, pool in pools.items()
        }
        dealt = _deal(pools, counts, lacks, free)
        plans = {name: planned(pool, dealt[name]) for name, pool in pools.items()}
        warm = warming.specialise(self._runtime, plans, shown, queued)
        for name, pool in pools.items():
            self._carry_out(pool, replace(plans[name], build=plans[name].build - warm[name]))

    def _carry_out(self, pool: PoolSettings, plan: sizing.Plan) -> None:
        if plan.build:
            with self._runtime.database.transaction() as db:
                image = images.active(db, pool.environment, pool.cloud)
                for _ in range(plan.build):
                    machine = Machine(
                        pool=pool.name, environment=pool.environment, size=pool.size, cloud=pool.cloud, attempt=0
                    )
                    machine.image = image.id if image is not None else None
                    db.add(machine)
                    db.flush()
                    _note_request(db, machine, plan.reason)
        if plan.remove:
            with self._runtime.database.reading() as db:
                vacant = select(Machine).where(Machine.pool == pool.name, Machine.state == M.VACANT)
                order = (rolling.spare_first(db, pool), Machine.id.desc())
                spare = list(db.scalars(vacant.order_by(*order).limit(plan.remove)))
            for machine in spare:
                change(self._runtime, machine.id, _to(M.DELETING, plan.reason, only_from=M.VACANT))

    def _queue_work(self, clouds: Mapping[str, Standing]) -> None:
        """Queue a job for each machine that needs one; what is queued already stays as it is.

        A cloud that wants to be left alone is asked for nothing meanwhile.
        """
        moment = now()
        looked_at = moment - timedelta(seconds=self._settings.times.probe_every)
        at_work = Machine.state.in_([state for state in _WORK if state != M.VACANT])
        to_probe = and_(Machine.state == M.VACANT, or_(Machine.probed_at.is_(None), Machine.probed_at < looked_at))
        with self._runtime.database.reading() as db:
            is_due = or_(Machine.due_at.is_(None), Machine.due_at <= moment)
            machines = list(db.scalars(select(Machine).where(or_(at_work, to_probe), is_due)))
        with metrics.redis_may_be_away():
            for machine in machines:
                if machine.state not in _ASKS_ITS_CLOUD or not _is_left_alone(clouds.get(machine.cloud)):
                    self._queue_for(machine)

    def _queue_for(self, machine: Machine) -> None:
        if machine.state == M.PROVISIONED:
            change(self._runtime, machine.id, _to(M.CONFIGURING, "to be configured"))
            return
        attempt: int | None = machine.attempt
        if machine.work_until is not None:
            if machine.work_until > now():
                return
            attempt = work.start_anew(self._runtime.database, Machine, machine.id, machine.attempt)
            if attempt is None:
                return
        queue, function, seconds = _WORK[M(machine.state)]
        job_id = f"{function.__name__}-{machine.id}-{attempt}"
        jobs.enqueue(self._runtime.redis, queue, job_id, function, machine.id, attempt, timeout=seconds)


# state -> queue, job, time limit in seconds
_WORK: dict[MachineState, tuple[str, Callable[[int, int], None], float]] = {
    M.REQUESTED: ("machines", machine_jobs.build_machine, 300),
    M.PROVISIONED: ("machines", machine_jobs.configure_machine, 0),
    M.CONFIGURING: ("machines", machine_jobs.configure_machine, 3600),
    M.VACANT: ("probes", machine_jobs.probe_machine, 180),
    M.DELETING: ("desktops", machine_jobs.destroy_machine, 180),
}


_ASKS_ITS_CLOUD = (M.REQUESTED, M.DELETING)


def _is_left_alone(cloud: Standing | None) -> bool:
    return cloud is not None and (cloud.pausing or cloud.breaker is not Breaker.CLOSED)


def _to(after: MachineState, reason: str, only_from: MachineState | None = None) -> Callable[[Session, Machine], None]:
    def to(db: Session, machine: Machine) -> None:
        if only_from is None or machine.state == only_from:
            move(db, machine, after, reason=reason)

    return to


def _deal(
    pools: Mapping[str, PoolSettings], counts: Mapping[str, Counts], lacks: Mapping[str, int], free: Mapping[str, int]
) -> dict[str, int]:
    """How many of the machines that each pool lacks its cloud may be asked for now."""
    dealt: dict[str, int] = {}
    for cloud, slots in free.items():
        own = {name: counts[name] for name, pool in pools.items() if pool.cloud == cloud}
        short = {name: (c.queued - c.vacant - c.coming, lacks[name], c.coming) for name, c in own.items()}
        dealt.update(sizing.deal(short, slots))
    return dealt


def plan_for(
    pool: PoolSettings,
    counts: Counts,
    wish: Pool | None,
    cloud: Standing,
    batch: int,
    moment: datetime,
    *,
    more: More = sizing.NONE_MORE,
    demand: Demand | None = None,
) -> sizing.Plan:
    """The pool's plan now: nothing is built while it waits after a failure or drains, or while its cloud is away."""
    target, limit = stock.target_and_limit(pool, wish)
    if (wish is not None and wish.retry_at is not None and wish.retry_at > moment) or not cloud.in_service:
        batch = 0
    if cloud.draining or not stock.is_serving(wish):
        return sizing.plan(replace(counts, queued=0), target=0, limit=limit, batch=batch)
    return sizing.plan(counts, target=target, limit=limit, batch=max(0, batch), more=more, demand=demand)


def _note_request(db: Session, machine: Machine, reason: str) -> None:
    events.record(db, "machine:requested", machine.id, reason=reason, pool=machine.pool)
    events.changed(db, "pool", machine.pool)
