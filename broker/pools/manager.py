"""Keeps the pools: one pass compares clouds, machines and targets, and queues what is to be done.

A pass may end anywhere: everything it does is written before it is done, and the next pass sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from broker import jobs, metrics, work
from broker.database import now
from broker.pools import bookings, images, plans, renewal, rolling, stock, warming
from broker.pools import jobs as machine_jobs
from broker.pools.access import change
from broker.pools.bookings import TakenSeats
from broker.pools.breaker import Breaker
from broker.pools.inventory import Inventory
from broker.pools.models import COMING, Machine, MachineState, move
from broker.pools.outlook import Fresh, Outlook
from broker.pools.sizing import Plan
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
        settings, demands = self._settings, self._outlook.demands()
        with self._runtime.database.reading() as db:
            kept = bookings.kept(db, settings, bookings.live(db), self._taken)
            outset = plans.look(db, settings, queued, clouds, demands, kept)
        loans = warming.specialise(self._runtime, plans.wanted(settings, outset), outset.counts)
        for name, plan in plans.plans(settings, outset.after(loans)).items():
            self._carry_out(settings.pools[name], plan)

    def _carry_out(self, pool: PoolSettings, plan: Plan) -> None:
        if plan.build:
            with self._runtime.database.transaction() as db:
                image = images.active(db, pool.environment, pool.cloud)
                for _ in range(plan.build):
                    stock.request(db, pool, image.id if image is not None else None, plan.reason)
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
        at_work = Machine.state.in_((M.REQUESTED, M.PROVISIONED, M.CONFIGURING))
        # a node that nobody has seen may be in the next list
        to_remove = and_(Machine.state == M.DELETING, Machine.node_id.is_not(None))
        to_probe = and_(Machine.state == M.VACANT, or_(Machine.probed_at.is_(None), Machine.probed_at < looked_at))
        is_due = or_(Machine.due_at.is_(None), Machine.due_at <= moment)
        with self._runtime.database.reading() as db:
            machines = list(db.scalars(select(Machine).where(or_(at_work, to_remove, to_probe), is_due)))
        with metrics.redis_may_be_away():
            for machine in machines:
                if machine.state not in _ASKS_ITS_CLOUD or not _is_left_alone(clouds.get(machine.cloud)):
                    self._queue_for(machine)
            self._renew(is_due)

    def _renew(self, is_due: ColumnElement[bool]) -> None:
        """Queue a job for each machine in use that does not know the broker's keys of today, or whose doors need
        another certificate."""
        wanting = renewal.wanting(self._settings.secrets_dir)
        with self._runtime.database.reading() as db:
            found = db.execute(select(Machine.id, Machine.attempt).where(*wanting, is_due)).all()
        for id_, attempt in found:
            job_id, function = f"renew_machine-{id_}-{attempt}", machine_jobs.renew_machine
            jobs.enqueue(self._runtime.redis, "probes", job_id, function, id_, attempt, timeout=300)

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
        queue, function = _WORK[M(machine.state)]
        job_id, seconds = f"{function.__name__}-{machine.id}-{attempt}", self._longest(machine)
        jobs.enqueue(self._runtime.redis, queue, job_id, function, machine.id, attempt, timeout=seconds)

    def _longest(self, machine: Machine) -> float:
        """Seconds after which its job is given up: later than all that the job itself gives up first."""
        cloud, times = self._settings.clouds.get(machine.cloud), self._settings.times
        if machine.state == M.CONFIGURING:
            return 2 * times.configure_timeout + 300  # the roles, the environment's check, the probe
        return max(300, 10 * cloud.timeout if cloud is not None else 0)


# state -> queue, job
_WORK: dict[MachineState, tuple[str, Callable[[int, int], None]]] = {
    M.REQUESTED: ("machines", machine_jobs.build_machine),
    M.CONFIGURING: ("machines", machine_jobs.configure_machine),
    M.VACANT: ("probes", machine_jobs.probe_machine),
    M.DELETING: ("desktops", machine_jobs.destroy_machine),
}
_ASKS_ITS_CLOUD = (M.REQUESTED, M.DELETING)


def _is_left_alone(cloud: Standing | None) -> bool:
    return cloud is not None and (cloud.pausing or cloud.breaker is not Breaker.CLOSED)


def _to(after: MachineState, reason: str, only_from: MachineState | None = None) -> Callable[[Session, Machine], None]:
    def to(db: Session, machine: Machine) -> None:
        if only_from is None or machine.state == only_from:
            move(db, machine, after, reason=reason)

    return to
