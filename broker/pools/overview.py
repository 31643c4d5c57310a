"""Pools, machines and workers as administrators see them; each list is a few queries however long it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.worker import BaseWorker
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.database import now
from broker.errors import NotFound
from broker.events import Event
from broker.jobs import QUEUES
from broker.pools import images, sizing, standing, stock
from broker.pools.breaker import Breaker, breaker
from broker.pools.models import COMING, LIVE, CloudStanding, Machine, MachineState, Pool, PoolMode
from broker.pools.reserving import Kept
from broker.pools.sizing import Counts, Demand, More
from broker.settings import CloudSettings, PoolSettings, Settings

M = MachineState
MOST_EVENTS = 20_000
NOTHING_KEPT = Kept(0.0)


@dataclass(frozen=True)
class PoolCard:
    """One pool against its target and limit; `goal` vacant machines are kept, of them `reserved` for reservations, and
    `reason` is what sizing says of it.

    Where it is sized by demand, `launches_hourly` are expected, and `target` is the least that is kept. `image` says
    what is built from.
    """

    name: str
    environment: str
    title: str
    cloud: str
    place: str
    size: str
    cores: int
    memory_gb: float
    gpus: int
    vacant: int
    coming: int
    acquired: int
    failed: int
    deleting: int
    queued: int
    target: int
    goal: int
    reserved: int
    limit: int
    sizing: str
    launches_hourly: float | None
    mode: PoolMode
    degraded: bool
    failures: int
    failure: str | None
    retry_at: datetime | None
    reason: str
    build_seconds: float | None
    image: str


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


@dataclass(frozen=True)
class CloudCard:
    """One cloud, how it stands, and how much of its limits is used.

    `breaker` is how the broker treats it; `fault` is why, since `fault_at`, asked again at `retry_at`. What is left of
    its quota is None where it sets no limit, or does not say. `cost_hourly` is in the settings' unit. `failure` is the
    last one of any of its pools. One that is `leaving` is no longer in the settings.
    """

    name: str
    title: str
    location: str
    driver: str
    leaving: bool
    mode: PoolMode
    breaker: Breaker
    faults: int
    fault: str | None
    fault_at: datetime | None
    retry_at: datetime | None
    room_nodes: int | None
    room_cores: int | None
    room_memory_gb: float | None
    cost_hourly: float
    machines: int
    vacant: int
    acquired: int
    building: int
    concurrent_builds: int
    limit: int
    failure: str | None


@dataclass(frozen=True)
class WorkerCard:
    """One RQ worker; `seconds` since it last said that it lives."""

    name: str
    state: str
    job: str | None
    seconds: float | None


@dataclass(frozen=True)
class QueueCard:
    """One RQ queue."""

    name: str
    waiting: int
    running: int


@dataclass(frozen=True)
class Workforce:
    """Who works on what. `away` says why nothing is known, where Redis does not answer."""

    workers: list[WorkerCard]
    queues: list[QueueCard]
    away: str | None = None


@dataclass(frozen=True)
class History:
    """How many machines of a pool were in which state, at moments in Unix seconds: the steps of a graph."""

    at: list[float]
    vacant: list[int]
    coming: list[int]
    acquired: list[int]
    failed: list[int]


def pools(db: Session, settings: Settings, queued: Mapping[str, int], kept: Kept = NOTHING_KEPT) -> list[PoolCard]:
    """All pools, in the settings' order; `queued` counts the sessions that wait, by pool."""
    held, wishes = stock.counts(db, settings.pools), stock.wishes_of_administrators(db)
    demands = stock.demands(db, settings)
    busy = Counter[str]()
    for pool in settings.pools.values():
        busy[pool.cloud] += sum(held[pool.name][state] for state in COMING)
    cards = []
    for name, pool in settings.pools.items():
        counts = stock.counts_of(held[name], queued.get(name, 0))
        more = More(*kept.reserved(name))
        cards.append(_pool(db, settings, pool, counts, wishes.get(name), demands.get(name), busy, more))
    said = images.words(db, settings)
    return [replace(card, image=said.get((card.environment, card.cloud), "")) for card in cards]


def _pool(
    db: Session,
    settings: Settings,
    pool: PoolSettings,
    counts: Counts,
    wish: Pool | None,
    demand: Demand | None,
    busy: Mapping[str, int],
    more: More,
) -> PoolCard:
    size, cloud = settings.sizes[pool.size], settings.clouds[pool.cloud]
    target, limit = stock.target_and_limit(pool, wish)
    mode = PoolMode(wish.mode) if wish else PoolMode.SERVING
    if mode is PoolMode.DRAINING:
        demand = None
    failures = wish.failures if wish else 0
    return PoolCard(
        name=pool.name,
        environment=pool.environment,
        title=settings.title_of(pool.environment),
        cloud=pool.cloud,
        place=cloud.title,
        size=pool.size,
        cores=size.cores,
        memory_gb=size.memory_gb,
        gpus=size.gpus,
        vacant=counts.vacant,
        coming=counts.coming,
        acquired=counts.acquired,
        failed=counts.failed,
        deleting=counts.deleting,
        queued=counts.queued,
        target=target,
        goal=sizing.goal(target, demand) + (more.reserved if mode is PoolMode.SERVING else 0),
        reserved=more.reserved,
        limit=limit,
        sizing=pool.sizing,
        launches_hourly=demand.forecast.hourly if demand else None,
        mode=mode,
        degraded=failures >= settings.times.degraded_after,
        failures=failures,
        failure=wish.failure if wish else None,
        retry_at=wish.retry_at if wish else None,
        reason=_reason(counts, target, limit, wish, demand, cloud.concurrent_builds - busy.get(pool.cloud, 0), more),
        build_seconds=stock.build_seconds(db, pool.name),
        image="",
    )


def _reason(
    counts: Counts,
    target: int,
    limit: int,
    wish: Pool | None,
    demand: Demand | None,
    free_builds: int,
    more: More,
) -> str:
    if wish is not None and wish.mode == PoolMode.DRAINING:
        return f"draining: {counts.vacant} vacant to go, {counts.acquired} in use"
    if wish is not None and wish.retry_at is not None and wish.retry_at > now():
        seconds = round((wish.retry_at - now()).total_seconds())
        return f"waits {seconds} s after {wish.failures} failure{'s' if wish.failures != 1 else ''} in a row"
    return sizing.plan(counts, target=target, limit=limit, batch=max(0, free_builds), more=more, demand=demand).reason


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


def clouds(db: Session, settings: Settings) -> list[CloudCard]:
    """All clouds, from what the database knows; one that is leaving is shown until its machines are gone."""
    held, wishes, costs = stock.counts_by_cloud(db), stock.wishes_of_administrators(db), _costs(db, settings)
    rows = standing.rows_by_name(db)
    shown = [cloud for name, cloud in settings.clouds.items() if held[name] or name not in settings.leaving]
    return [
        _cloud(settings, cloud, held[cloud.name], wishes, rows.get(cloud.name), costs[cloud.name]) for cloud in shown
    ]


def _costs(db: Session, settings: Settings) -> Counter[str]:
    """What an hour of each cloud's machines costs now, by what the settings say of their pools."""
    costs: Counter[str] = Counter()
    for name, held in stock.counts(db, settings.pools).items():
        pool = settings.pools[name]
        costs[pool.cloud] += pool.cost * sum(held.values())  # type: ignore[assignment]
    return costs


def _cloud(
    settings: Settings,
    cloud: CloudSettings,
    held: Mapping[M, int],
    wishes: Mapping[str, Pool],
    row: CloudStanding | None,
    cost_hourly: float,
) -> CloudCard:
    row = row or CloudStanding(name=cloud.name, mode=PoolMode.SERVING, faults=0)
    mine = [pool for pool in settings.pools.values() if pool.cloud == cloud.name]
    failures = [wish.failure for pool in mine if (wish := wishes.get(pool.name)) and wish.failure]
    return CloudCard(
        name=cloud.name,
        title=cloud.title,
        location=cloud.location,
        driver=cloud.driver,
        leaving=cloud.name in settings.leaving,
        mode=PoolMode(row.mode),
        breaker=breaker(row.faults, row.retry_at, now(), away_after=settings.times.away_after),
        faults=row.faults,
        fault=row.fault,
        fault_at=row.fault_at,
        retry_at=row.retry_at,
        room_nodes=row.room_nodes,
        room_cores=row.room_cores,
        room_memory_gb=row.room_memory_gb,
        cost_hourly=round(cost_hourly, 4),
        machines=sum(held.values()),
        vacant=held.get(M.VACANT, 0),
        acquired=held.get(M.ACQUIRED, 0),
        building=sum(held.get(state, 0) for state in COMING),
        concurrent_builds=cloud.concurrent_builds,
        limit=sum(stock.target_and_limit(pool, wishes.get(pool.name))[1] for pool in mine),
        failure=failures[-1] if failures else None,
    )


def workforce(redis: Redis) -> Workforce:
    """RQ's workers and queues; where Redis is away, that is said."""
    try:
        queues = [_queue(Queue(name, connection=redis)) for name in QUEUES]
        return Workforce(sorted((_worker(w) for w in Worker.all(connection=redis)), key=lambda w: w.name), queues)
    except (RedisError, OSError) as error:
        return Workforce([], [], away=f"Redis does not answer: {error}")


def _queue(queue: Queue) -> QueueCard:
    return QueueCard(queue.name, queue.count, queue.started_job_registry.get_job_count(cleanup=False))


def _worker(worker: BaseWorker) -> WorkerCard:
    beat = worker.last_heartbeat
    return WorkerCard(
        name=worker.name[:12],
        state=worker.get_state(),
        job=worker.get_current_job_id(),
        seconds=_since(beat, now()) if beat is not None else None,
    )


def history(db: Session, settings: Settings, pool: str, hours: float) -> History:
    """The pool's last hours, walked back from its present counts along the audit log: nothing is sampled."""
    if pool not in settings.pools:
        raise NotFound(f"There is no pool {pool[:40]!r}.", hint=f"There are: {', '.join(settings.pools) or 'none'}.")
    moment = now()
    since = moment - timedelta(hours=hours)
    held = stock.counts(db, [pool])[pool]
    moves = db.execute(
        select(Event.at, Event.action, Event.detail)
        .where(Event.kind == "machine", Event.at > since)
        .order_by(Event.id.desc())
        .limit(MOST_EVENTS)
    )
    mine = [
        (at, action.removeprefix("machine:"), detail.get("before"))
        for at, action, detail in moves
        if detail.get("pool") == pool
    ]
    return _walk_back(held, mine, since, moment)


def _walk_back(
    held: Counter[MachineState], moves: Iterable[tuple[datetime, str, str | None]], since: datetime, moment: datetime
) -> History:
    """From the counts now and the moves, the newest first, to the counts at each moment, the oldest first."""
    counts = Counter({str(state): number for state, number in held.items()})
    points = [(moment.timestamp(), _groups(counts))]
    for at, after, before in moves:
        points.append((at.timestamp(), _groups(counts)))
        counts[after] -= 1
        if before is not None:
            counts[before] += 1
    points.append((since.timestamp(), _groups(counts)))
    points.reverse()
    vacant, coming, acquired, failed = ([groups[i] for _, groups in points] for i in range(4))
    return History([round(at, 1) for at, _ in points], vacant, coming, acquired, failed)


def _groups(counts: Mapping[str, int]) -> tuple[int, int, int, int]:
    coming = sum(counts.get(state, 0) for state in COMING)
    groups = (counts.get(M.VACANT, 0), coming, counts.get(M.ACQUIRED, 0), counts.get(M.FAILED, 0))
    return tuple(max(0, number) for number in groups)  # type: ignore[return-value]


def recent_events(db: Session, *, limit: int, before: int | None = None) -> list[Event]:
    """A page of the audit log, the newest line first."""
    older = [Event.id < before] if before is not None else []
    return list(db.scalars(select(Event).where(*older).order_by(Event.id.desc()).limit(limit)))
