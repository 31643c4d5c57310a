"""Pools as administrators see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from broker.pools import builds, images, plans, sizing, standing, stock
from broker.pools.models import Pool, PoolMode
from broker.pools.plans import Outset
from broker.pools.reserving import Kept
from broker.pools.sizing import Plan
from broker.settings import PoolSettings, Settings

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


def pools(db: Session, settings: Settings, queued: Mapping[str, int], kept: Kept = NOTHING_KEPT) -> list[PoolCard]:
    """All pools, in the settings' order; `queued` counts the sessions that wait, by pool."""
    clouds, demands = standing.standings(db, settings), stock.demands(db, settings)
    outset = plans.look(db, settings, queued, clouds, demands, kept)
    now_planned = plans.plans(settings, outset)
    times, said = builds.medians(db, settings.pools), images.words(db, settings)
    return [
        _card(
            settings,
            pool,
            outset,
            now_planned[name],
            build_seconds=times.get(name),
            image=said.get((pool.environment, pool.cloud), ""),
        )
        for name, pool in settings.pools.items()
    ]


def _card(
    settings: Settings, pool: PoolSettings, outset: Outset, plan: Plan, *, build_seconds: float | None, image: str
) -> PoolCard:
    size, cloud = settings.sizes[pool.size], settings.clouds[pool.cloud]
    wish = outset.wishes.get(pool.name) or Pool(name=pool.name, mode=PoolMode.SERVING, failures=0)
    counts, more = stock.counts_of(outset.held[pool.name], outset.counts[pool.name].queued), outset.more[pool.name]
    target, limit = stock.target_and_limit(pool, wish)
    demand = outset.demands.get(pool.name) if stock.is_serving(wish) else None
    gives = stock.is_serving(wish) and not outset.clouds[pool.cloud].draining
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
        goal=sizing.goal(target, demand) + more.reserved + more.taken_over if gives else 0,
        reserved=more.reserved,
        limit=limit,
        sizing=pool.sizing,
        launches_hourly=demand.forecast.hourly if demand else None,
        mode=PoolMode(wish.mode),
        degraded=wish.failures >= settings.times.degraded_after,
        failures=wish.failures,
        failure=wish.failure,
        retry_at=wish.retry_at,
        reason=plan.reason,
        build_seconds=build_seconds,
        image=image,
    )
