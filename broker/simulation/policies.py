"""The ways to size pools that a simulation compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from broker.pools import sizing
from broker.pools.forecast import HOUR, Forecast, Profile
from broker.simulation.scenario import Pool, Scenario

BASE = "base-"  # begins the names of pools of machines that are not specialised yet


@dataclass(frozen=True)
class Policy:
    """One way. `demand`: sized by demand rather than fixed; `shared`: out of bases that several environments share."""

    name: str
    title: str
    demand: bool = False
    shared: bool = False


FIXED = Policy("fixed", "Fixed, as set")
ADVISED = Policy("advised", "Fixed, as advised")
DEMAND = Policy("demand", "By demand", demand=True)
SHARED = Policy("shared", "By demand, shared warmth", demand=True, shared=True)
POLICIES = (FIXED, ADVISED, DEMAND, SHARED)


def bases(scenario: Scenario) -> dict[str, Pool]:
    """For each pool that shares its size and cloud with another, the pool of their common base, by its own name."""

    def place(pool: Pool) -> tuple[str, str]:
        return pool.cloud, pool.size

    found = {}
    for (cloud, size), group in groupby(sorted(scenario.pools, key=place), key=place):
        pools = list(group)
        if len(pools) > 1:
            base = _base(f"{BASE}{size}-{cloud}", pools)
            found.update({pool.name: base for pool in pools})
    return found


def _base(name: str, pools: list[Pool]) -> Pool:
    """All but the specialising is done by the base's builds, so they take as long as the slowest of its pools'."""
    slowest = max(pool.build_seconds for pool in pools)
    limit = sum(pool.limit for pool in pools)
    aim = replace(pools[0].aim, wait_chance=min(pool.aim.wait_chance for pool in pools), most=None)
    cost = max(pool.cost for pool in pools)
    return replace(
        pools[0], name=name, environment="", target=0, limit=limit, build_seconds=slowest, aim=aim, cost=cost
    )


def advised(pool: Pool, known: Profile, start: float, end: float) -> int:
    """The fixed target that makes waiting as rare as the pool's aim says in the busiest hour between two moments."""
    hours = (start + HOUR * number for number in range(max(1, round((end - start) / HOUR))))
    busiest = max(known.expected(hour, hour + HOUR) for hour in hours)
    forecast = Forecast(busiest * pool.build_seconds / HOUR, known.shape, pool.build_seconds)
    return min(pool.limit, sizing.needed(forecast, pool.aim))
