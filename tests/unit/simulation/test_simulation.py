"""Simulated days: what sizing promises, and what no day may bring: starvation, see-saws, broken limits."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.pools.allocation import Wish
from broker.pools.sizing import Aim
from broker.simulation import generate
from broker.simulation.engine import Engine
from broker.simulation.faults import Fault, bad_day
from broker.simulation.figures import Figures
from broker.simulation.policies import ADVISED, DEMAND, FIXED, POLICIES, SHARED, Policy
from broker.simulation.scenario import DAY, HOUR, Cloud, Launch, Pool, Scenario
from broker.simulation.stock import MARGIN, Stock

START = generate.WEDNESDAY


def pool(name: str = "a", *, cloud: str = "here", target: int = 2, limit: int = 400, build: float = 600) -> Pool:
    return Pool(name, name, cloud, "small", 4, 16.0, 0, target, limit, build, Aim())


def steady(rates: dict[str, float], seed: int = 1, *, hours: float = 48, use: float = HOUR) -> list[Launch]:
    """Launches of each environment at so many an hour, day and night, for two days of which the second counts."""
    draw, found = random.Random(seed), []
    for environment, rate in rates.items():
        at = START - DAY
        while at < START - DAY + hours * HOUR:
            at += draw.expovariate(rate / HOUR)
            found.append(Launch(at, Wish(environment), use))
    return sorted(found, key=lambda launch: launch.at)


def day(pools: list[Pool], launches: list[Launch], *, builds: int = 100, faults: tuple[Fault, ...] = ()) -> Scenario:
    clouds = tuple(Cloud(name, name, "ral", builds) for name in sorted({p.cloud for p in pools}))
    return Scenario("test", clouds, tuple(pools), launches, START, START + DAY, faults=faults)


def test_a_steady_day_waits_as_rarely_as_was_set() -> None:
    """20 launches an hour, ten days of them: about one in a hundred may wait, and no needless stock is kept."""
    launches = steady({"a": 20}, seed=7, hours=11 * 24)
    found = Engine(replace(day([pool()], launches), until=START + 10 * DAY), DEMAND).run()
    assert found.launches > 4500
    assert found.waited_share < 0.015
    assert found.hours.vacant / (10 * DAY) < 9  # 3.3 are used up in a build


@pytest.mark.parametrize("policy", [DEMAND, SHARED], ids=lambda policy: policy.name)
def test_a_steady_rate_makes_no_see_saw(policy: Policy) -> None:
    """Machines built are those used and a handful; hardly one is removed unused."""
    found = Engine(day([pool("a"), pool("b")], steady({"a": 15, "b": 5})), policy).run()
    assert abs(found.builds - found.launches) <= 15
    assert found.removed <= 10


def test_demand_beats_fixed_sizes_and_shared_warmth_beats_both() -> None:
    """On the day of a service as ISIS has it: fewer machine hours, and fewer launches that wait."""
    isis = generate.scenario(generate.isis(), launches=700)
    found = {policy.name: Engine(isis, policy).run() for policy in POLICIES}
    fixed, advised, demand, shared = (found[policy.name] for policy in POLICIES)
    assert demand.machine_hours < fixed.machine_hours < advised.machine_hours
    assert shared.machine_hours < demand.machine_hours
    assert max(demand.waited_share, shared.waited_share, advised.waited_share) < fixed.waited_share
    assert len({one.launches for one in found.values()}) == 1


def test_a_pool_that_few_use_is_served_beside_one_that_is_flooded() -> None:
    """The cloud builds far less than one environment asks for; the other's few wait for a build or two, not all day."""
    scenario = day([pool("a"), pool("z")], steady({"a": 40, "z": 1}), builds=3)
    found = Engine(scenario, DEMAND).run()
    waits = [wait.seconds for wait in found.waits if wait.pool == "z"]
    assert max([wait.seconds for wait in found.waits if wait.pool == "a"]) > 2 * HOUR
    assert max(waits, default=0) < HOUR


def test_a_cloud_that_was_away_is_full_again_without_help() -> None:
    """Everybody who waited is served soon after it is back, in spite of the pauses after failures."""
    outage = Fault("here", START + 10 * HOUR, START + 11 * HOUR, away=True)
    scenario = day([pool()], steady({"a": 20}), faults=(outage,))
    found = Engine(scenario, DEMAND).run()
    assert found.waited_share > 0.02
    assert found.longest_wait < 1.6 * HOUR
    assert all(wait.over for wait in found.waits)
    late = [n for hour, n in zip(found.series.hour, found.series.waiting, strict=True) if hour > 12.5]
    assert max(late) <= 3


def test_who_comes_first_is_served_first() -> None:
    """One vacant machine at a time for many: waits never overtake."""
    launches = [Launch(START + 60 * n, Wish("a"), 30 * HOUR) for n in range(20)]
    found = Engine(day([pool(target=1)], launches, builds=1), FIXED).run()
    arrivals = [launch.at for launch in launches][-len(found.waits) :]
    served = [at + wait.seconds for at, wait in zip(arrivals, found.waits, strict=True)]
    assert len(served) > 10
    assert served == sorted(served)
    assert all(after - before > 300 for before, after in pairwise(served))  # one build each


scenarios = st.builds(
    day,
    st.just([pool("a", limit=9), pool("b", target=0, limit=5), pool("c", cloud="there", limit=4, build=1500)]),
    st.builds(
        lambda rates, seed, use: steady(rates, seed, use=use, hours=40),
        st.fixed_dictionaries({name: st.floats(0.2, 8) for name in "abc"}),
        st.integers(0, 99),
        st.floats(300, 20_000),
    ),
    builds=st.integers(1, 6),
    faults=st.sampled_from([(), bad_day(["here", "there"], START - DAY, random.Random(1))]),
)


@settings(max_examples=10, deadline=None)
@given(scenarios, st.sampled_from(POLICIES))
def test_no_day_breaks_a_limit_or_loses_a_machine(scenario: Scenario, policy: Policy) -> None:
    """Counts are never negative, limits hold, and everybody is served or waits where nothing can be had."""
    settle = Stock.settle

    def checked(stock: Stock, moment: float) -> None:
        numbers = (stock.vacant, stock.coming, stock.acquired, stock.failed, stock.deleting, stock.queued)
        assert min(numbers) >= 0, numbers
        assert stock.held <= stock.pool.limit
        settle(stock, moment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stock, "settle", checked)
        found = Engine(scenario, policy).run()
    assert found.launches == sum(1 for launch in scenario.launches if START <= launch.at < START + DAY)
    assert found.refused == 0


def test_the_same_seed_makes_the_same_day() -> None:
    """Two runs agree to the last figure; another seed's do not."""

    def run(seed: int) -> Figures:
        return Engine(day([pool()], steady({"a": 12})), ADVISED, seed).run()

    assert run(1) == run(1)
    assert run(1).hours != run(2).hours


def test_a_made_up_day_has_the_launches_that_were_asked_for() -> None:
    """More by day than by night, hardly any at the weekend, and four weeks to learn from."""
    scenario = generate.scenario(generate.large(), launches=2000)
    counted = [launch for launch in scenario.launches if launch.at >= START]
    assert 1600 < len(counted) < 2400
    assert len(scenario.pools) == 200
    at_night = sum(1 for launch in counted if (launch.at - START) < 6 * HOUR)
    assert at_night < 0.05 * len(counted)
    past = [at for moments in scenario.past.values() for at in moments]
    assert 35_000 < len(past) < 55_000
    weekend = sum(1 for at in past if ((at - START) // DAY + 2) % 7 >= 5)
    assert weekend < 0.1 * len(past)


class Watched(Engine):
    """Remembers how many machines were vacant when the course was to be warm, and when each of its people sat down."""

    def __init__(self, scenario: Scenario, policy: Policy) -> None:
        super().__init__(scenario, policy)
        self.waits: dict[bool, list[float]] = {True: [], False: []}
        self.warm: list[int] = []
        (self.booking,) = scenario.bookings
        self._at(self.booking.begins - MARGIN, self._warm)

    def _warm(self) -> None:
        self.warm.append(self._by_name[self.booking.pool].vacant)

    def _start(self, launch: Launch, stock: Stock) -> None:
        self.waits[launch.booking is not None].append(self._now - launch.at)
        super()._start(launch, stock)


@pytest.mark.parametrize("policy", [FIXED, DEMAND], ids=lambda policy: policy.name)
def test_a_course_of_seventy_is_warm_at_its_start_and_starves_nobody(policy: Policy) -> None:
    """All seventy have a desktop at once; of the others, hardly one waits for more than a build, as on any day."""
    pools = [pool(target=4, limit=30, build=600)]
    usual = day(pools, steady({"a": 8}, seed=5, use=HOUR), builds=10)
    plain = Watched(replace(generate.with_course(usual, 1), launches=usual.launches), policy)
    plain.run()
    course = Watched(generate.with_course(usual, 70), policy)
    figures = course.run()
    waited = [[seconds for seconds in one.waits[False] if seconds > 0] for one in (plain, course)]
    assert course.warm[0] >= 70
    assert course.waits[True] == [0.0] * 70
    assert len(course.waits[False]) == len(plain.waits[False])
    assert len(waited[1]) <= len(waited[0]) + len(course.waits[False]) * 0.03
    assert max(waited[1], default=0.0) <= max(1200.0, max(waited[0], default=0.0))
    assert figures.refused == 0
