"""Keeps the pools: one pass compares clouds, machines and targets, and queues what is to be done.

A pass may end anywhere: everything it does is written before it is done, and the next pass sees it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events, jobs, metrics, work
from broker.clouds.adapter import CloudNode, open_cloud
from broker.database import now
from broker.errors import BrokerError, WrongState
from broker.pools import jobs as machine_jobs
from broker.pools import reconcile, sizing, stock
from broker.pools.access import settle
from broker.pools.models import COMING, LIVE, Machine, MachineState, Pool, move
from broker.pools.reconcile import Finding, Memory, Row, Step
from broker.pools.sizing import Counts
from broker.runtime import Runtime
from broker.settings import PoolSettings

log = structlog.get_logger()
M = MachineState


class PoolManager:
    """The pools' keeper; one at a time is at work in a deployment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._memories = {name: Memory() for name in runtime.settings.clouds}
        self._listed_at = 0.0
        self._threads = ThreadPoolExecutor(max(1, len(runtime.settings.clouds)), thread_name_prefix="cloud")

    def tend(self, queued: Mapping[str, int]) -> None:
        """One pass; `queued` counts the sessions that wait, by pool."""
        if time.monotonic() - self._listed_at >= self._settings.times.list_every:
            self._listed_at = time.monotonic()
            self._reconcile()
        self._clear_away()
        self._fill(queued)
        self._queue_work()

    def _reconcile(self) -> None:
        """Ask all clouds at once what they have of ours; a cloud that does not answer is left as it is."""
        for name, nodes in self._threads.map(self._list, self._settings.clouds):
            if nodes is not None:
                with metrics.swallowed("reconcile"):
                    self._settle_cloud(name, nodes)

    def _list(self, name: str) -> tuple[str, list[CloudNode] | None]:
        try:
            return name, open_cloud(self._settings.clouds[name]).list_ours(self._settings.deployment)
        except BrokerError as error:
            log.warning("cloud.silent", cloud=name, error=error.message)
            metrics.SWALLOWED.labels("cloud-list").inc()
            return name, None

    def _settle_cloud(self, name: str, nodes: list[CloudNode]) -> None:
        rows = self._rows(name)
        coming = {row.node_id for row in rows if row.state == M.BUILDING}
        nodes = [self._vouched(name, node) if node.id in coming else node for node in nodes]
        memory = self._memories[name]
        for finding in reconcile.compare(rows, nodes, memory, build_timeout=self._settings.times.build_timeout):
            self._take_step(finding)
        live = frozenset(row.id for row in rows)
        grace = self._settings.times.orphan_grace
        for node in reconcile.orphans(nodes, live, memory, moment=time.monotonic(), grace=grace):
            self._remove_orphan(name, node)

    def _vouched(self, cloud: str, node: CloudNode) -> CloudNode:
        """The node with its host key, where its cloud keeps that elsewhere than in the list."""
        if node.state == "running" and node.host_key is None:
            with metrics.swallowed("vouch"):
                return replace(node, host_key=open_cloud(self._settings.clouds[cloud]).vouch(node))
        return node

    def _rows(self, cloud: str) -> list[Row]:
        moment = now()
        with self._runtime.database.reading() as db:
            machines = db.scalars(select(Machine).where(Machine.cloud == cloud, Machine.state.in_(LIVE)))
            return [Row(m.id, M(m.state), m.node_id, (moment - m.changed_at).total_seconds()) for m in machines]

    def _take_step(self, finding: Finding) -> None:
        step = _STEPS[finding.step]
        self._change(finding.machine_id, lambda db, machine: step(self, db, machine, finding.node))

    def _change(self, machine_id: int, change: Callable[[Session, Machine], None]) -> None:
        """Change one machine in one transaction; one that has moved on meanwhile is left alone."""
        try:
            with self._runtime.database.transaction() as db:
                change(db, db.get_one(Machine, machine_id))
        except WrongState as error:
            log.info("machine.moved-on", machine=machine_id, why=error.message)

    def adopt(self, db: Session, machine: Machine, node: CloudNode | None) -> None:
        """Write down the node whose creation was never confirmed."""
        assert node is not None  # noqa: S101 - an adopted node is there
        if machine.state == M.REQUESTED:
            move(db, machine, M.BUILDING, reason="found in the cloud", node_id=node.id)
        else:
            machine.node_id = node.id

    def arrived(self, db: Session, machine: Machine, node: CloudNode | None) -> None:
        """The machine runs: note where it is."""
        assert node is not None  # noqa: S101 - a running node is there
        move(db, machine, M.PROVISIONED, reason="runs", address=node.address, host_key=node.host_key)

    def failed(self, db: Session, machine: Machine, node: CloudNode | None) -> None:
        """The cloud broke the machine, lost it, or was too slow."""
        late = f"not running {self._settings.times.build_timeout:.0f} s after it was asked for"
        lost = "the cloud no longer has this machine" if node is None else None
        why = lost or (node.error if node and node.error else late)
        move(db, machine, M.FAILED, reason=why, failure=why)
        settle(db, self._settings, machine.pool, why)

    def gone(self, db: Session, machine: Machine, node: CloudNode | None) -> None:
        """Deleted, as it should be."""
        move(db, machine, M.DELETED, reason="gone from the cloud")

    def _remove_orphan(self, cloud: str, node: CloudNode) -> None:
        with self._runtime.database.reading() as db:
            id_ = reconcile.machine_of(node)
            machine = db.get(Machine, id_) if id_ is not None else None
        if machine is not None and machine.state != M.DELETED:
            return
        log.warning("cloud.orphan", cloud=cloud, node=node.id, machine=id_)
        with metrics.swallowed("orphan"):
            open_cloud(self._settings.clouds[cloud]).destroy(node.id)

    def _clear_away(self) -> None:
        """Failed machines go when their evidence was kept long enough; vacant ones when their pool is no more."""
        keep_until = now() - timedelta(seconds=self._settings.times.keep_failed)
        with self._runtime.database.reading() as db:
            failed = select(Machine).where(Machine.state == M.FAILED)
            old = [m for m in db.scalars(failed) if m.node_id is None or m.changed_at < keep_until]
            unwanted = select(Machine).where(Machine.state == M.VACANT, Machine.pool.not_in(self._settings.pools))
            stray = list(db.scalars(unwanted))
        for machine, reason in [(m, "its evidence was kept long enough") for m in old] + [
            (m, "its pool is no longer in the settings") for m in stray
        ]:
            self._change(machine.id, _to(M.DELETING, reason))

    def _fill(self, queued: Mapping[str, int]) -> None:
        """Build what is missing and let go what is too much, a batch at a time."""
        with self._runtime.database.reading() as db:
            held = stock.counts(db, self._settings.pools)
            wishes = stock.wishes_of_administrators(db)
        busy = dict.fromkeys(self._settings.clouds, 0)
        for pool in self._settings.pools.values():
            busy[pool.cloud] += sum(held[pool.name][state] for state in COMING)
        for pool in self._settings.pools.values():
            counts = stock.counts_of(held[pool.name], queued.get(pool.name, 0))
            batch = self._settings.clouds[pool.cloud].concurrent_builds - busy[pool.cloud]
            plan = plan_for(pool, counts, wishes.get(pool.name), batch, now())
            busy[pool.cloud] += plan.build
            self._carry_out(pool, plan)

    def _carry_out(self, pool: PoolSettings, plan: sizing.Plan) -> None:
        if plan.build:
            with self._runtime.database.transaction() as db:
                for _ in range(plan.build):
                    machine = Machine(
                        pool=pool.name, environment=pool.environment, size=pool.size, cloud=pool.cloud, attempt=0
                    )
                    db.add(machine)
                    db.flush()
                    _note_request(db, machine, plan.reason)
        if plan.remove:
            with self._runtime.database.reading() as db:
                newest = select(Machine).where(Machine.pool == pool.name, Machine.state == M.VACANT)
                spare = list(db.scalars(newest.order_by(Machine.id.desc()).limit(plan.remove)))
            for machine in spare:
                self._change(machine.id, _to(M.DELETING, plan.reason, only_from=M.VACANT))

    def _queue_work(self) -> None:
        """Queue a job for each machine that needs one; what is queued already stays as it is."""
        with self._runtime.database.reading() as db:
            machines = list(db.scalars(select(Machine).where(Machine.state.in_(_WORK))))
        for machine in machines:
            try:
                self._queue_for(machine)
            except RedisError as error:
                log.warning("redis.away", error=str(error))
                metrics.SWALLOWED.labels("redis").inc()
                return

    def _queue_for(self, machine: Machine) -> None:
        every = self._settings.times.probe_every
        if machine.state == M.VACANT and not machine_jobs.due(machine, every):
            return
        if machine.state == M.PROVISIONED:
            self._change(machine.id, _to(M.CONFIGURING, "to be configured"))
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


_STEPS: dict[Step, Callable[[PoolManager, Session, Machine, CloudNode | None], None]] = {
    Step.ADOPT: PoolManager.adopt,
    Step.ARRIVED: PoolManager.arrived,
    Step.BROKE: PoolManager.failed,
    Step.LATE: PoolManager.failed,
    Step.LOST: PoolManager.failed,
    Step.GONE: PoolManager.gone,
}

# state -> queue, job, time limit in seconds
_WORK: dict[MachineState, tuple[str, Callable[[int, int], None], float]] = {
    M.REQUESTED: ("machines", machine_jobs.build_machine, 300),
    M.PROVISIONED: ("machines", machine_jobs.configure_machine, 0),
    M.CONFIGURING: ("machines", machine_jobs.configure_machine, 3600),
    M.VACANT: ("probes", machine_jobs.probe_machine, 180),
    M.DELETING: ("desktops", machine_jobs.destroy_machine, 180),
}


def _to(after: MachineState, reason: str, only_from: MachineState | None = None) -> Callable[[Session, Machine], None]:
    def change(db: Session, machine: Machine) -> None:
        if only_from is None or machine.state == only_from:
            move(db, machine, after, reason=reason)

    return change


def plan_for(pool: PoolSettings, counts: Counts, wish: Pool | None, batch: int, moment: datetime) -> sizing.Plan:
    """The pool's plan now: nothing is built while it waits after a failure or drains."""
    target, limit = stock.target_and_limit(pool, wish)
    draining = wish is not None and wish.mode == "draining"
    if wish is not None and wish.retry_at is not None and wish.retry_at > moment:
        batch = 0
    if draining:
        counts = Counts(counts.vacant, counts.coming, counts.acquired, counts.failed, counts.deleting, 0)
    return sizing.plan(counts, target=target, limit=limit, batch=max(0, batch))


def _note_request(db: Session, machine: Machine, reason: str) -> None:
    events.record(db, "machine:requested", machine.id, reason=reason, pool=machine.pool)
    events.changed(db, "pool", machine.pool)
