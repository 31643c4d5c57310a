"""What is simulated: clouds, pools, launches and faults, as plain values. Moments are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.pools import builds, stock
from broker.pools.allocation import USUAL, Weights, Wish
from broker.pools.reserving import Booking
from broker.pools.sizing import Aim
from broker.settings import PoolSettings, Settings
from broker.simulation.faults import Fault

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Cloud:
    """A cloud, and how many machines it may be asked for at a time."""

    name: str
    title: str
    location: str
    concurrent_builds: int


@dataclass(frozen=True)
class Pool:
    """A pool as the settings have it, its size's figures, and how long its machines take to build on average.

    `cost` is of a machine's hour, in the settings' unit.
    """

    name: str
    environment: str
    cloud: str
    size: str
    cores: int
    memory_gb: float
    gpus: int
    target: int
    limit: int
    build_seconds: float
    aim: Aim
    by_demand: bool = False
    gpu_model: str = ""
    architecture: str = "x86_64"
    groups: tuple[str, ...] = ()
    cost: float = 0.0
    preemptible: bool = False


@dataclass(frozen=True)
class Launch:
    """Somebody asks for a desktop, and uses it for so many seconds; on a seat of a booking, where they have one."""

    at: float
    wish: Wish
    seconds: float
    booking: int | None = None


@dataclass(frozen=True)
class Scenario:
    """All that happens; only what happens from `measured_from` until `until` is counted.

    `launches` are in order and begin earlier, so that machines are in use when the counting begins; `past` has the
    launches before those, by pool: what the forecast has learnt from.
    """

    title: str
    clouds: tuple[Cloud, ...]
    pools: tuple[Pool, ...]
    launches: Sequence[Launch]
    measured_from: float
    until: float
    past: Mapping[str, Sequence[float]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    specialise_seconds: float = 60.0
    bookings: tuple[Booking, ...] = ()
    weights: Weights = USUAL

    def clock(self, moment: float) -> float:
        """Hours since the midnight (UTC) before the counting begins."""
        return (moment - self.measured_from // DAY * DAY) / HOUR


def clouds_of(settings: Settings) -> tuple[Cloud, ...]:
    """The clouds of the settings."""
    return tuple(Cloud(c.name, c.title, c.location, c.concurrent_builds) for c in settings.clouds.values())


def pools_of(settings: Settings, build_seconds: Mapping[str, float]) -> tuple[Pool, ...]:
    """The pools of the settings that users ask for, with the build times that were measured; a base's are left out."""
    pools = (pool for pool in settings.pools.values() if pool.environment not in settings.bases)
    return tuple(_pool(settings, pool, build_seconds.get(pool.name, builds.UNKNOWN)) for pool in pools)


def _pool(settings: Settings, pool: PoolSettings, build_seconds: float) -> Pool:
    size = settings.sizes[pool.size]
    return Pool(
        name=pool.name,
        environment=pool.environment,
        cloud=pool.cloud,
        size=pool.size,
        cores=size.cores,
        memory_gb=size.memory_gb,
        gpus=size.gpus,
        target=pool.target,
        limit=pool.limit,
        build_seconds=build_seconds,
        aim=stock.aim_of(pool),
        by_demand=pool.sizing == "demand",
        gpu_model=size.gpu_model,
        architecture=size.architecture,
        groups=pool.groups,
        cost=pool.cost,
        preemptible=pool.preemptible,
    )
