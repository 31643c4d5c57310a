"""Compares what the clouds have with what the database says, and writes down what follows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import jobs, metrics
from broker.clouds.adapter import CloudNode
from broker.database import now
from broker.pools import jobs as machine_jobs
from broker.pools import reconcile, standing
from broker.pools.access import change, settle
from broker.pools.models import LIVE, Machine, MachineState, move
from broker.pools.reconcile import Finding, Memory, Row, Step
from broker.pools.standing import Standing
from broker.pools.watch import Question, Seen, Watch
from broker.runtime import Runtime

log = structlog.get_logger()
M = MachineState
PATIENCE = 1.0  # seconds that a pass waits for quick clouds


class Inventory:
    """What the clouds have of ours, seen again and again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watch = Watch(runtime)
        self._memories: defaultdict[str, Memory] = defaultdict(Memory)
        self._asked_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))
        self._room_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))

    def take(self, standings: dict[str, Standing]) -> None:
        """Ask the clouds that are due, and settle what has come; one that does not answer is left as it is."""
        due = [name for name, each in standings.items() if not each.pausing and self._is_due(name)]
        arriving = self._arriving() if due else {}
        for name in due:
            self._watch.ask(name, Question(arriving.get(name, frozenset()), self._room_is_due(name)))
        for seen in self._watch.answers(PATIENCE):
            with metrics.swallowed("reconcile"):
                self._note(seen, standings.get(seen.cloud, Standing()))

    def _is_due(self, name: str) -> bool:
        settings = self._runtime.settings
        every = settings.clouds[name].list_every or settings.times.list_every
        if not self._watch.is_free(name) or time.monotonic() - self._asked_at[name] < every:
            return False
        self._asked_at[name] = time.monotonic()
        return True

    def _room_is_due(self, name: str) -> bool:
        if time.monotonic() - self._room_at[name] < self._runtime.settings.times.room_every:
            return False
        self._room_at[name] = time.monotonic()
        return True

    def _arriving(self) -> dict[str, frozenset[str]]:
        """The nodes that are being built, by cloud."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        with self._runtime.database.reading() as db:
            for cloud, node_id in db.execute(select(Machine.cloud, Machine.node_id).where(Machine.state == M.BUILDING)):
                found[cloud].add(node_id or "")
        return {cloud: frozenset(ids) for cloud, ids in found.items()}

    def _note(self, seen: Seen, before: Standing) -> None:
        if seen.fault is not None:
            log.warning("cloud.fault", cloud=seen.cloud, error=seen.fault.message)
            standing.note_fault(self._runtime, seen.cloud, seen.fault)
            return
        if before.faults:
            standing.note_success(self._runtime, seen.cloud)
        if seen.room is not None:
            standing.note_room(self._runtime, seen.cloud, seen.room)
        self._settle(seen.cloud, seen.nodes or [])

    def _settle(self, cloud: str, nodes: list[CloudNode]) -> None:
        rows, memory, times = self._rows(cloud), self._memories[cloud], self._runtime.settings.times
        for finding in reconcile.compare(rows, nodes, memory, build_timeout=times.build_timeout):
            self._take_step(finding)
        live = {row.id: row.node_id for row in rows}
        for node in reconcile.orphans(nodes, live, memory, moment=time.monotonic(), grace=times.orphan_grace):
            self._remove_orphan(cloud, node)

    def _rows(self, cloud: str) -> list[Row]:
        moment = now()
        columns = (Machine.id, Machine.state, Machine.node_id, Machine.changed_at)
        with self._runtime.database.reading() as db:
            found = db.execute(select(*columns).where(Machine.cloud == cloud, Machine.state.in_(LIVE)))
            return [Row(id_, M(state), node, (moment - since).total_seconds()) for id_, state, node, since in found]

    def _take_step(self, finding: Finding) -> None:
        step = _STEPS[finding.step]
        change(self._runtime, finding.machine_id, lambda db, machine: step(self, db, machine, finding))

    def adopt(self, db: Session, machine: Machine, finding: Finding) -> None:
        """Write down the node whose creation was never confirmed."""
        node = finding.node
        assert node is not None  # noqa: S101 - an adopted node is there
        if machine.state == M.REQUESTED:
            move(db, machine, M.BUILDING, reason="found in the cloud", node_id=node.id)
        else:
            machine.node_id = node.id

    def arrived(self, db: Session, machine: Machine, finding: Finding) -> None:
        """The machine runs: note where it is."""
        node = finding.node
        assert node is not None  # noqa: S101 - a running node is there
        where: dict[str, Any] = {"address": node.address, "ssh_port": node.ssh_port, "host_key": node.host_key}
        move(db, machine, M.PROVISIONED, reason="runs", **where)

    def failed(self, db: Session, machine: Machine, finding: Finding) -> None:
        """The cloud broke the machine, lost it, or was too slow."""
        why = reconcile.why(finding, self._runtime.settings.times.build_timeout)
        if machine.state == M.VACANT and self._may_be_taken(machine.pool):
            move(db, machine, M.DELETING, reason=f"its cloud took it back: {why}")
            return
        move(db, machine, M.FAILED, reason=why, failure=why)
        settle(db, self._runtime.settings, machine.pool, why)

    def _may_be_taken(self, pool: str) -> bool:
        """Whether the pool's machines are pre-emptible: one that waited is just replaced, and nobody's failure."""
        known = self._runtime.settings.pools.get(pool)
        return known is not None and known.preemptible

    def gone(self, db: Session, machine: Machine, finding: Finding) -> None:
        """Deleted, as it should be."""
        move(db, machine, M.DELETED, reason="gone from the cloud")

    def _remove_orphan(self, cloud: str, node: CloudNode) -> None:
        """Have a worker remove it; asked again as long as it is seen."""
        log.warning("cloud.orphan", cloud=cloud, node=node.id, machine=reconcile.machine_of(node))
        job_id = f"remove_orphan-{cloud}-{node.id}"
        with metrics.redis_may_be_away():
            jobs.enqueue(
                self._runtime.redis, "machines", job_id, machine_jobs.remove_orphan, cloud, node.id, timeout=180
            )


_STEPS: dict[Step, Callable[[Inventory, Session, Machine, Finding], None]] = {
    Step.ADOPT: Inventory.adopt,
    Step.ARRIVED: Inventory.arrived,
    Step.BROKE: Inventory.failed,
    Step.LATE: Inventory.failed,
    Step.LOST: Inventory.failed,
    Step.GONE: Inventory.gone,
}
