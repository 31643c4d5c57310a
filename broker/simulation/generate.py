"""Days and facilities that are made up: launches as working days bring them, and pools like those of real services."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product

import numpy as np

from broker.pools.allocation import Wish
from broker.pools.reserving import Booking
from broker.pools.sizing import Aim
from broker.simulation.scenario import DAY, HOUR, Cloud, Launch, Pool, Scenario

WEDNESDAY = datetime(2026, 11, 18, tzinfo=UTC).timestamp()
PAST_DAYS = 28
WEEKEND = 0.2  # of a working day's launches
# how a working day's launches spread over its hours (UTC): two humps with lunch between, and a few who work late
HOURS = (1, 1, 1, 1, 1, 2, 5, 14, 40, 60, 58, 50, 36, 48, 52, 46, 34, 20, 12, 9, 7, 5, 3, 2)
STRAYING = 20.0  # the shape of how one environment's days differ
SESSION_HOURS, SESSION_SPREAD = 3.0, 1.0  # of a lognormal distribution: its median, and its logarithm's deviation
LONGEST_HOURS = 48.0

# 27 machine types, 85 warm machines and at most 686, as ISIS published of its service in 2024; 1 to 7 warm, up to 65
ISIS_TARGETS = (7, 7, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1)
ISIS_LIMITS = (65, 60, 50, 42, 40, 40, 32, 32, 32, 30, 26, 24, 24, 24, 22, 18, 16, 16, 15, 15, 12, 12, 10, 8, 8, 7, 6)
SIZES = {"micro": (4, 16.0, 0), "small": (12, 60.0, 0), "medium": (60, 245.0, 0), "gpu": (12, 90.0, 1)}


@dataclass(frozen=True)
class Facility:
    """Clouds and pools, and the launches of a working day."""

    title: str
    clouds: tuple[Cloud, ...]
    pools: tuple[Pool, ...]
    launches: int


def isis() -> Facility:
    """One cloud, 27 environments with a pool each."""
    cloud = Cloud("scd", "STFC Cloud", "ral", concurrent_builds=40)
    sizes = [name for name, share in (("micro", 14), ("small", 7), ("medium", 3), ("gpu", 3)) for _ in range(share)]
    pools = tuple(
        _pool(f"type-{n + 1:02}", f"type-{n + 1:02}", cloud, sizes[n * 8 % 27], target, limit, 660.0)
        for n, (target, limit) in enumerate(zip(ISIS_TARGETS, ISIS_LIMITS, strict=True))
    )
    return Facility("27 machine types on one cloud, as at ISIS", (cloud,), pools, launches=900)


def large() -> Facility:
    """20 clouds, 40 environments, 200 pools: each environment in five clouds."""
    clouds = tuple(Cloud(f"cloud-{n + 1:02}", f"Cloud {n + 1}", f"site-{n % 7 + 1}", 30) for n in range(20))
    pools = []
    for environment, place in product(range(40), range(5)):
        cloud = clouds[(environment * 3 + place * 4) % 20]
        name, size = f"env-{environment + 1:02}", ("micro", "small")[environment % 2]
        build = 240.0 + 60.0 * (clouds.index(cloud) % 10)
        pools.append(_pool(f"{name}-{cloud.name}", name, cloud, size, 3, 30, build))
    return Facility("40 environments in 200 pools on 20 clouds", clouds, tuple(pools), launches=6000)


FACILITIES = {"isis": isis, "large": large}


def _pool(name: str, environment: str, cloud: Cloud, size: str, target: int, limit: int, build: float) -> Pool:
    cores, memory, gpus = SIZES[size]
    return Pool(name, environment, cloud.name, size, cores, memory, gpus, target, limit, build, Aim())


def scenario(facility: Facility, *, launches: int | None = None, seed: int = 1) -> Scenario:
    """A Wednesday of that many launches, the Tuesday before it, and four weeks to learn from."""
    numbers = np.random.default_rng(seed)
    by_day = facility.launches if launches is None else launches
    capacity: dict[str, list[Pool]] = defaultdict(list)
    for pool in facility.pools:
        capacity[pool.environment].append(pool)
    shares = {name: sum(max(1, pool.limit) for pool in pools) for name, pools in capacity.items()}
    whole = sum(shares.values())
    past: dict[str, list[float]] = {pool.name: [] for pool in facility.pools}
    days: list[Launch] = []
    start = WEDNESDAY - DAY
    for name, share in shares.items():
        rate = by_day * share / whole
        before = moments(numbers, rate, start - PAST_DAYS * DAY, PAST_DAYS)
        for at, taken in _spread(before, capacity[name], numbers):
            past[taken].append(at)
        wish = Wish(name, groups=tuple(sorted({group for pool in capacity[name] for group in pool.groups})))
        days += [Launch(at, wish, _session(numbers)) for at in moments(numbers, rate, start, 2)]
    days.sort(key=lambda launch: launch.at)
    return Scenario(facility.title, facility.clouds, facility.pools, days, WEDNESDAY, WEDNESDAY + DAY, past)


def with_course(found: Scenario, seats: int, seed: int = 1) -> Scenario:
    """The day, with a course from its 14th hour to its 17th (of a made-up day: 14:00 to 17:00 UTC) in its largest pool,
    whose limit is so much higher; its people come within the ten minutes around its begin."""
    numbers = np.random.default_rng(seed)
    largest = max(found.pools, key=lambda pool: pool.limit)
    begins, ends = found.measured_from + 14 * HOUR, found.measured_from + 17 * HOUR
    booking = Booking(1, f"a course of {seats}", largest.name, seats, begins, ends)
    wish = Wish(largest.environment, groups=largest.groups)
    at = sorted((begins + 600 * (numbers.random(seats) - 0.5)).tolist())
    people = [Launch(moment, wish, ends - moment, booking.id) for moment in at]
    pools = tuple(replace(p, limit=p.limit + seats) if p is largest else p for p in found.pools)
    launches = sorted([*found.launches, *people], key=lambda launch: launch.at)
    return replace(found, pools=pools, launches=launches, bookings=(*found.bookings, booking))


def moments(numbers: np.random.Generator, per_day: float, start: float, days: int) -> list[float]:
    """The launches of so many days from a midnight on, in order; each day is a bit busier or quieter than others."""
    weights = np.array(HOURS) / sum(HOURS)
    found = []
    for day in range(days):
        midnight = start + day * DAY
        weekend = datetime.fromtimestamp(midnight, UTC).weekday() >= 5
        busy = per_day * (WEEKEND if weekend else 1) * numbers.gamma(STRAYING, 1 / STRAYING)
        for hour, number in enumerate(numbers.poisson(busy * weights)):
            found += sorted((midnight + HOUR * (hour + numbers.random(number))).tolist())
    return found


def _spread(at: Sequence[float], pools: Sequence[Pool], numbers: np.random.Generator) -> list[tuple[float, str]]:
    """Which of its pools an earlier launch went to: the larger, the more."""
    sizes = np.array([max(1, pool.limit) for pool in pools], dtype=np.float64)
    picked = numbers.choice(len(pools), len(at), p=sizes / sizes.sum())
    return [(moment, pools[number].name) for moment, number in zip(at, picked.tolist(), strict=True)]


def _session(numbers: np.random.Generator) -> float:
    return HOUR * min(LONGEST_HOURS, numbers.lognormal(math.log(SESSION_HOURS), SESSION_SPREAD))


def of_settings(clouds: Sequence[Cloud], pools: Sequence[Pool]) -> Facility:
    """The service of the settings; a busy one: each machine that may be is launched three times in two days."""
    limit = sum(pool.limit for pool in pools)
    return Facility("The pools of the settings", tuple(clouds), tuple(pools), launches=math.ceil(1.5 * limit))
