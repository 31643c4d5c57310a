"""RQ's entry points for machines: build, configure, probe, destroy. Each is safe to run twice.

A job carries the machine's attempt number. It does its work only while it holds the machine under that number,
and each change it makes names the number too, so a job that was thought lost can do no harm when it wakes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog

from broker import events, work
from broker.clouds.adapter import DEPLOYMENT, MACHINE, BuildSpec, Cloud, Dial, open_cloud
from broker.configuration import ca
from broker.database import now
from broker.errors import BrokerError, CloudFault, CloudFull, CloudRefused, NotFound, ProbeFailed, WrongState
from broker.pools import builds, images, renewal, standing, tunnels
from broker.pools.access import hold_up, settle
from broker.pools.configure import configure
from broker.pools.models import Machine, MachineState, move
from broker.pools.probe import probe
from broker.pools.reconcile import machine_of
from broker.runtime import Runtime, current
from broker.settings import PoolSettings

log = structlog.get_logger()
M = MachineState


def _job(work_on: Callable[[Runtime, Machine], None]) -> Callable[[int, int], None]:
    """Run the work while the machine is held; a failure of any kind ends in the machine's own row."""

    @wraps(work_on)
    def run(machine_id: int, attempt: int) -> None:
        runtime = current()
        with work.held(runtime.database, Machine, machine_id, attempt) as ours:
            if not ours:
                return
            machine = _load(runtime, machine_id)
            try:
                work_on(runtime, machine)
            except WrongState as error:
                log.info("machine.work.overtaken", machine=machine_id, why=error.message)
            except Exception as error:
                if isinstance(error, CloudFault) and error.transient:
                    _ask_later(runtime, machine, error)
                    return
                known = isinstance(error, BrokerError)
                log.error(
                    "machine.work.failed", machine=machine_id, work=work_on.__name__, exc_info=not known, why=str(error)
                )
                give_up(runtime, machine_id, attempt, error)

    return run


def _ask_later(runtime: Runtime, machine: Machine, error: CloudFault | None = None) -> None:
    """The cloud did not do it, or not yet: the machine stays as it is, and its cloud is asked again."""
    with runtime.database.transaction() as db:
        row = db.get_one(Machine, machine.id)
        if row.attempt != machine.attempt:
            return
        standing.postpone(db, runtime.settings.times, row, error)
        if error is not None and row.state == M.REQUESTED:
            hold_up(db, runtime.settings, row.pool, error.message)
    if error is not None:
        log.warning("machine.work.postponed", machine=machine.id, tries=row.tries, error=error.message)
        standing.note_fault(runtime, machine.cloud, error)


def _load(runtime: Runtime, machine_id: int) -> Machine:
    with runtime.database.reading() as db:
        return db.get_one(Machine, machine_id)


def cloud_of(runtime: Runtime, machine: Machine) -> Cloud:
    """The cloud that the machine lives in."""
    known = runtime.settings.clouds.get(machine.cloud)
    if known is None:
        raise CloudRefused(
            f"clouds.{machine.cloud} is no longer in the settings.",
            hint="Put it back until its machines are gone: drain a cloud before you remove it.",
        )
    return open_cloud(known)


def tags(runtime: Runtime, machine: Machine) -> dict[str, str]:
    """What marks a node as this deployment's and as this machine."""
    return {
        DEPLOYMENT: runtime.settings.deployment,
        MACHINE: str(machine.id),
    }


@_job
def build_machine(runtime: Runtime, machine: Machine) -> None:
    """Ask the cloud for the machine; asked twice, it is made once."""
    settings = runtime.settings
    pool = settings.pools.get(machine.pool)
    if pool is None:
        raise NotFound(f"pools.{machine.pool} is no longer in the settings.", hint="Its machines go by themselves.")
    told = renewal.mark(settings.secrets_dir)
    with runtime.database.reading() as db:
        image = images.built_from(db, settings, machine)
    dial = _dial(runtime, machine)
    spec = BuildSpec(
        name=f"{settings.deployment}-{machine.name}",
        size_id=settings.sizes[pool.size].id_in(pool.cloud),
        image_id=image,
        tags=tags(runtime, machine),
        ssh_ca=ca.trusted(settings.secrets_dir).users,
        request_id=f"{settings.deployment}-machine-{machine.id}",
        dial=dial,
    )
    try:
        node = cloud_of(runtime, machine).build(spec)
    except CloudRefused as error:
        raise CloudRefused(f"{error.message} {_asked_with(pool, spec)}", hint=error.hint) from error
    with runtime.database.transaction() as db:
        move(db, machine, M.BUILDING, reason="the cloud was asked", node_id=node.id, told=told)


def _dial(runtime: Runtime, machine: Machine) -> Dial | None:
    """What it is told where it must dial out. Where it need not, nothing is written."""
    if runtime.settings.clouds[machine.cloud].reach != "tunnel":
        return None
    with runtime.database.transaction() as db:
        return tunnels.dial_of(db, runtime.settings, machine)


def _asked_with(pool: PoolSettings, spec: BuildSpec) -> str:
    """Which settings the cloud may have refused."""
    return (
        f"It was asked with sizes.{pool.size}.ids.{pool.cloud} = {spec.size_id!r}, "
        f"clouds.{pool.cloud}.image = {spec.image_id!r} and clouds.{pool.cloud}.options."
    )


@_job
def configure_machine(runtime: Runtime, machine: Machine) -> None:
    """Configure it over SSH, then look at the desktop; only what passes becomes vacant."""
    told, doors_due = renewal.mark(runtime.settings.secrets_dir), renewal.doors_due()
    configure(runtime, machine)
    probe(runtime, machine)
    moment = now()
    with runtime.database.transaction() as db:
        known: dict[str, Any] = {"vacant_at": moment, "probed_at": moment, "told": told, "doors_due": doors_due}
        move(db, machine, M.VACANT, reason="configured and probed", **known)
        builds.note(db, machine.pool, (moment - machine.requested_at).total_seconds())
        settle(db, runtime.settings, machine.pool, None)


@_job
def probe_machine(runtime: Runtime, machine: Machine) -> None:
    """Look again at a machine that waits; one that fails is never handed out."""
    probe(runtime, machine)
    with runtime.database.transaction() as db:
        row = db.get_one(Machine, machine.id)
        if row.attempt == machine.attempt:
            row.probed_at = now()


@_job
def renew_machine(runtime: Runtime, machine: Machine) -> None:
    """Bring it the broker's keys of today, whoever works on it."""
    renewal.renew(runtime, machine)


@_job
def destroy_machine(runtime: Runtime, machine: Machine) -> None:
    """Remove the machine from its cloud; it is deleted once the cloud no longer knows it."""
    if machine.node_id is None:
        return
    cloud = cloud_of(runtime, machine)
    cloud.destroy(machine.node_id)
    node = cloud.find(machine.node_id)
    if node is not None and node.state != "gone":
        _ask_later(runtime, machine)
        return
    with runtime.database.transaction() as db:
        move(db, machine, M.DELETED, reason="gone from the cloud")


def give_up(runtime: Runtime, machine_id: int, attempt: int, error: Exception) -> None:
    """Quarantine the machine with the error, and count it against its pool, which waits before it builds again.

    One that its cloud had no room for goes at once: there is nothing to look at. One that is being deleted stays so,
    and its cloud is asked again after a while.
    """
    message = error.message if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
    evidence = error.facts.get("evidence") if isinstance(error, ProbeFailed) else None
    with runtime.database.transaction() as db:
        machine = db.get_one(Machine, machine_id)
        if machine.attempt == attempt and machine.state == M.DELETING:
            standing.postpone(db, runtime.settings.times, machine)
        if machine.attempt != attempt or machine.state not in (M.REQUESTED, M.CONFIGURING, M.VACANT):
            return
        move(db, machine, M.FAILED, reason=message, failure=message, evidence=evidence)
        settle(db, runtime.settings, machine.pool, message)
        if isinstance(error, CloudFull):
            db.refresh(machine)
            move(db, machine, M.DELETING, reason="the cloud had no room for it")


def remove_orphan(cloud: str, node_id: str) -> None:
    """Remove a node of ours that no live machine claims; looked at once more, because somebody may claim it by now."""
    runtime = current()
    settings = runtime.settings
    found = open_cloud(settings.clouds[cloud])
    node = found.find(node_id)
    if node is None or node.tags.get(DEPLOYMENT) != settings.deployment:
        return
    id_ = machine_of(node)
    with runtime.database.reading() as db:
        machine = db.get(Machine, id_) if id_ is not None else None
    if machine is None or machine.state == M.DELETED or machine.node_id not in (None, node_id):
        found.destroy(node_id)
        with runtime.database.transaction() as db:
            events.record(db, "cloud:orphan-removed", cloud, node=node_id, machine=id_)
