"""Sizing by demand: as many vacant machines as keep waiting rare, and no see-saw."""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.pools import sizing
from broker.pools.forecast import HOUR, LOOK_BACK, WEEK, Forecast, Launches
from broker.pools.sizing import Aim, Counts, Demand, More

unhurried = settings(max_examples=50, deadline=None)  # this machine may have much else to do
small = st.integers(0, 12)
counts = st.builds(Counts, vacant=small, coming=small, acquired=small, failed=small, deleting=small, queued=small)
forecasts = st.builds(Forecast, st.floats(0, 60), st.floats(0.5, 200), st.floats(30, 7200))
aims = st.builds(Aim, st.floats(0.001, 0.5), st.none() | small, st.none() | st.floats(0.5, 200))
demands = st.builds(sizing.expect, forecasts, aims, st.none(), st.just(0.0))


@unhurried
@given(counts, small, st.integers(0, 60), small, small, demands)
def test_demand_builds_within_limit_and_batch_and_never_builds_and_removes(
    have: Counts, target: int, limit: int, batch: int, reserved: int, demand: Demand
) -> None:
    """Whatever is expected."""
    plan = sizing.plan(have, target=target, limit=limit, batch=batch, more=More(reserved), demand=demand)
    assert 0 <= plan.build <= batch
    assert plan.build == 0 or have.held + plan.build <= limit
    assert plan.build == 0 or plan.remove == 0
    assert 0 <= plan.remove <= have.vacant


@unhurried
@given(forecasts, st.floats(0.001, 0.5))
def test_what_is_needed_is_the_least_that_keeps_waiting_rare(forecast: Forecast, chance: float) -> None:
    """P(demand during a build >= S) is at most the chance with S machines, and more with one fewer."""
    need = sizing.needed(forecast, Aim(chance))
    chances = forecast.chances()
    below = [next(chances) for _ in range(need)]
    assert 1 - sum(below) <= chance + 1e-9
    assert 1 - sum(below[:-1]) > chance - 1e-9


@unhurried
@given(forecasts, aims)
def test_more_launches_or_a_stricter_aim_never_need_fewer_machines(forecast: Forecast, aim: Aim) -> None:
    """And the bounds hold."""
    busier = Forecast(forecast.launches * 1.5, forecast.shape, forecast.seconds)
    free = Aim(aim.wait_chance)
    assert sizing.needed(busier, free) >= sizing.needed(forecast, free)
    assert sizing.needed(forecast, Aim(aim.wait_chance / 2)) >= sizing.needed(forecast, free)
    assert sizing.needed(forecast, aim) <= (sizing.needed(forecast, free) if aim.most is None else aim.most)


def test_a_pool_that_is_hardly_used_keeps_none_where_that_is_not_worth_it() -> None:
    """One launch in four days: a day of machine hours for each is too much, a week is not."""
    rare = Forecast(600 / (96 * HOUR), 4, 600)
    assert sizing.needed(rare, Aim()) == 1
    assert sizing.needed(rare, Aim(worth_hours=24)) == 0
    assert sizing.needed(rare, Aim(worth_hours=168)) == 1


def test_reservations_are_kept_beyond_what_is_expected() -> None:
    """Machines for a course come on top of those for everybody."""
    plan = sizing.plan(Counts(vacant=2), target=2, limit=50, batch=50, more=More(20, "20 more for Mantid course"))
    assert plan.build == 20
    assert "target 2, 20 more for Mantid course" in plan.reason
    away = sizing.plan(Counts(vacant=2), target=2, limit=50, batch=50, more=More(taken_over=3))
    assert "target 2, 3 more for pools whose cloud is away" in away.reason


def test_the_reason_says_why_in_words() -> None:
    """As an administrator would ask."""
    demand = sizing.expect(Forecast(5.2 * 660 / HOUR, 12, 660), Aim(), None, 0)
    plan = sizing.plan(Counts(vacant=3, coming=1), target=1, limit=20, batch=4, demand=demand)
    assert plan.reason == (
        "building 1: 5, because 5.2 launches an hour are expected and a build takes 11 min, 3 vacant, 1 coming"
    )
    kept = Demand(demand.forecast, demand.needed, kept=7.2)
    assert "8, on the way down to 5, because" in sizing.plan(Counts(), target=1, limit=20, batch=4, demand=kept).reason
    least = sizing.plan(Counts(vacant=9), target=9, limit=20, batch=4, demand=demand).reason
    assert "9, the least set, though 5 would do because" in least


def test_spare_capacity_rises_at_once_and_shrinks_slowly() -> None:
    """From ten to two in hours, not in a pass; back to ten in one."""
    quiet, busy = Forecast(0.1, 12, 600), Forecast(4, 12, 600)
    demand = sizing.expect(busy, Aim(), None, 0)
    high = sizing.goal(0, demand)
    falling = []
    for _ in range(60):
        demand = sizing.expect(quiet, Aim(), demand, 120)
        falling.append(sizing.goal(0, demand))
    assert falling[0] >= high - 1
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == sizing.needed(quiet, Aim())
    assert sizing.goal(0, sizing.expect(busy, Aim(), demand, 120)) == high


wants = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.tuples(st.integers(-5, 20), small, small))


@unhurried
@given(wants, st.integers(-3, 40))
def test_builds_are_dealt_out_whole_and_to_those_who_lack_them(
    short: dict[str, tuple[int, int, int]], slots: int
) -> None:
    """No slot is left over while somebody lacks a machine, and nobody gets more than it lacks."""
    dealt = sizing.deal(short, slots)
    assert all(0 <= dealt[name] <= max(0, lacks) for name, (_, lacks, _) in short.items())
    assert sum(dealt.values()) == min(max(0, slots), sum(lacks for _, lacks, _ in short.values()))


def test_a_flood_for_one_pool_starves_no_other() -> None:
    """The first pool lacks a hundred machines again and again; whoever waits at the last is served in a pass or two."""
    coming = {"a": 4, "z": 0}
    dealt = sizing.deal({"a": (100, 100, coming["a"]), "z": (1, 1, coming["z"])}, 1)
    assert dealt == {"a": 0, "z": 1}
    assert sizing.deal({"a": (0, 9, 0), "z": (1, 3, 2)}, 2) == {"a": 1, "z": 1}  # first who waits, then who has least


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 20), st.integers(0, 1000))
def test_forecasts_of_a_steady_rate_find_the_rate(rate: float, seed: int) -> None:
    """On average over two weeks of them; a single one follows what came last."""
    launches, draw, at, found = Launches(0.0), random.Random(seed), 0.0, []
    for number in range(50):
        moment = (7 * 24 + 7 * number) * HOUR
        while (at := at + draw.expovariate(rate / HOUR)) < moment:
            launches.note(at)
        found.append(launches.forecast(moment, HOUR).hourly)
        launches.note(at)
    assert sum(found) / len(found) == pytest.approx(rate, rel=0.25, abs=0.25)


def test_a_forecast_knows_the_hour_of_the_day_and_the_day_of_the_week() -> None:
    """Four weeks of launches at nine on working days only."""
    launches, monday = Launches(0.0), 4 * 24 * HOUR  # Unix time began on a Thursday
    for week in range(4):
        for day in range(5):
            for number in range(12):
                launches.note(monday + (week * WEEK + day * 24 + 9) * HOUR + number * 300)
    nine = monday + (4 * WEEK + 9) * HOUR
    assert launches.forecast(nine, HOUR).hourly > 6
    assert launches.forecast(nine - 4 * HOUR, HOUR).hourly < 1.5
    assert launches.forecast(nine + 5 * 24 * HOUR, HOUR).hourly < 1.5


def test_a_day_never_seen_is_taken_to_be_like_others_of_its_kind() -> None:
    """Launches at nine from Monday to Thursday: some are expected on Friday at nine, fewer at noon or on Saturday."""
    monday = 4 * 24 * HOUR
    launches = Launches(monday)
    for day in range(4):
        for number in range(12):
            launches.note(monday + (day * 24 + 9) * HOUR + number * 300)
    known = launches.profile(monday + 4 * 24 * HOUR)
    friday, saturday = 4 * 24, 5 * 24
    assert known.rates[friday + 9] > 6 > 3 * known.rates[friday + 12]
    assert known.rates[friday + 9] > 3 * known.rates[saturday + 9]


def test_with_little_history_the_recent_rate_counts_and_is_doubted() -> None:
    """Twenty launches in the first hour: more are expected, and a wide range of them."""
    launches = Launches(0.0)
    assert launches.forecast(60, HOUR).hourly < 2
    for number in range(20):
        launches.note(number * 180.0)
    forecast = launches.forecast(HOUR, HOUR)
    assert forecast.hourly > 8
    below = list(accumulate(islice(forecast.chances(), 200)))
    assert bisect(below, 0.95) - bisect(below, 0.05) > 10


def test_launches_are_not_remembered_one_by_one_for_ever() -> None:
    """Of a pool that nobody asks a forecast for, either: its hours are enough."""
    launches = Launches(0.0)
    for number in range(3000):
        launches.note(60.0 * number)
    assert len(launches._recent) <= LOOK_BACK / 60 + 1


@unhurried
@given(forecasts)
def test_a_forecasts_chances_are_a_distribution_with_its_mean(forecast: Forecast) -> None:
    """Negative binomial, as its name says; checked by its moments."""
    chances = forecast.chances()
    first = [next(chances) for _ in range(3000)]
    assert sum(first) == pytest.approx(1, abs=1e-6)
    assert sum(n * chance for n, chance in enumerate(first)) == pytest.approx(forecast.launches, rel=1e-3, abs=1e-6)
