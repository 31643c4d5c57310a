"""What administrators do with pools and machines: one audited transaction each. Safe to repeat."""

from __future__ import annotations

from sqlalchemy.orm import Session

from broker import events
from broker.errors import InvalidRequest, NotFound, WrongState
from broker.identity.service import Person
from broker.pools import access, standing, stock
from broker.pools.models import COMING, Machine, MachineState, PoolMode, move
from broker.runtime import Runtime
from broker.settings import PoolSettings, Settings

M = MachineState
RETIRABLE = (*COMING, M.VACANT, M.FAILED)
MOST = 10_000


def resize(runtime: Runtime, person: Person, name: str, target: int, limit: int) -> None:
    """Keep `target` machines vacant and at most `limit` in all, in place of the settings' figures."""
    person.must_be_admin()
    pool = _configured(runtime.settings, name)
    if not 0 <= target <= limit <= MOST:
        raise InvalidRequest(
            f"A pool cannot have target {target} and limit {limit}.",
            hint=f"Give 0 <= target <= limit <= {MOST}.",
        )
    with runtime.database.transaction() as db:
        row = access.row(db, name)
        before = dict(zip(("target", "limit"), stock.target_and_limit(pool, row), strict=True))
        row.target, row.limit = target, limit
        events.record(db, "pool:resize", name, actor=person.name, target=target, limit=limit, before=before)


def drain(runtime: Runtime, person: Person, name: str) -> None:
    """Give out no machine of the pool any more and let its vacant ones go; running sessions go on."""
    _set_mode(runtime, person, name, PoolMode.DRAINING, "pool:drain")


def resume(runtime: Runtime, person: Person, name: str) -> None:
    """Let the pool serve again, and build at once where it was waiting after a failure."""
    _set_mode(runtime, person, name, PoolMode.SERVING, "pool:resume")


def drain_cloud(runtime: Runtime, person: Person, name: str) -> None:
    """Drain all pools of the cloud; other clouds keep as many machines vacant in its place, where they may."""
    _set_cloud_mode(runtime, person, name, PoolMode.DRAINING, "cloud:drain")


def resume_cloud(runtime: Runtime, person: Person, name: str) -> None:
    """Let the cloud serve again, and ask it at once where it was left alone after a fault."""
    _set_cloud_mode(runtime, person, name, PoolMode.SERVING, "cloud:resume")


def retire(runtime: Runtime, person: Person, machine_id: int) -> Machine:
    """Remove a machine that no session uses; the pool replaces it as it needs."""
    person.must_be_admin()
    with runtime.database.transaction() as db:
        machine = _known(db, machine_id)
        if machine.state == M.ACQUIRED:
            raise WrongState(
                f"Machine {machine_id} is in use by session {machine.session_id}.",
                hint=f"End session {machine.session_id}; its machine is removed with it.",
            )
        if machine.state in RETIRABLE:
            move(db, machine, M.DELETING, reason=f"retired by {person.name}", actor=person.name)
            db.refresh(machine)
        return machine


def retry(runtime: Runtime, person: Person, machine_id: int) -> Machine:
    """Remove a failed machine now, and let its pool build what it lacks at once."""
    person.must_be_admin()
    with runtime.database.transaction() as db:
        machine = _known(db, machine_id)
        if machine.state not in (M.FAILED, M.DELETING, M.DELETED):
            raise WrongState(
                f"Machine {machine_id} is {machine.state}; only a failed one is tried again.", hint="Reload the page."
            )
        if machine.state == M.FAILED:
            access.row(db, machine.pool).retry_at = None
            move(db, machine, M.DELETING, reason=f"tried again by {person.name}", actor=person.name)
            db.refresh(machine)
        return machine


def _set_mode(runtime: Runtime, person: Person, name: str, mode: PoolMode, action: str) -> None:
    person.must_be_admin()
    _configured(runtime.settings, name)
    with runtime.database.transaction() as db:
        row = access.row(db, name)
        if mode is PoolMode.SERVING:
            row.retry_at = None
        before, row.mode = row.mode, mode
        events.record(db, action, name, actor=person.name, before=before)


def _set_cloud_mode(runtime: Runtime, person: Person, name: str, mode: PoolMode, action: str) -> None:
    person.must_be_admin()
    clouds = runtime.settings.clouds
    if name not in clouds:
        raise NotFound(f"There is no cloud {name[:40]!r}.", hint=f"There are: {', '.join(clouds) or 'none'}.")
    with runtime.database.transaction() as db:
        row = standing.row(db, name)
        if mode is PoolMode.SERVING:
            row.retry_at = None
            standing.go_on(db, runtime.settings, name)
        before, row.mode = row.mode, mode
        events.record(db, action, name, actor=person.name, before=before)


def _configured(settings: Settings, name: str) -> PoolSettings:
    pool = settings.pools.get(name)
    if pool is None:
        raise NotFound(f"There is no pool {name[:40]!r}.", hint=f"There are: {', '.join(settings.pools) or 'none'}.")
    return pool


def _known(db: Session, machine_id: int) -> Machine:
    machine = db.get(Machine, machine_id)
    if machine is None:
        raise NotFound(f"There is no machine {machine_id}.", hint="Look at the list of machines.")
    return machine
