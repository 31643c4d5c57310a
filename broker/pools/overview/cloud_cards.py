"""Clouds as administrators see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import standing, stock
from broker.pools.breaker import Breaker, breaker
from broker.pools.models import COMING, CloudStanding, MachineState, Pool, PoolMode
from broker.settings import CloudSettings, Settings

M = MachineState


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
