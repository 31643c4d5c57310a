"""How many launches will come, and how sure is that? Pure: from past launches to an expectation.

Launches are taken as a Poisson stream whose rate has a weekly profile, times a level of the day that nobody knows:

- the profile, a rate for each hour of the week (UTC), is the posterior mean of Gamma-distributed rates given the hours
  seen (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6), older weeks counting less (exponential smoothing,
  Brown 1959); an hour with little history shrinks to that hour on such days, and that to the mean of all hours;
- the level is Gamma too, with mean 1 before the day is seen; launches of the last hours, discounted by their age, move
  it (power discounting: Smith 1979; West and Harrison, Bayesian Forecasting and Dynamic Models, section 10.8). How far
  they do depends on how much past hours strayed from their profile (the moment estimator of negative binomial
  dispersion: Cameron and Trivedi, Regression Analysis of Count Data, section 3.3).

A Poisson number whose rate is Gamma-distributed is negative binomial: wider than Poisson, and the more so the less is
known.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOUR = 3600.0
WEEK = 168  # hours
REMEMBERED = 5 * WEEK  # hours
MONDAY = 72  # Unix time began on a Thursday
FORGET_WEEK = 0.8  # what a week counts beside the one after it
ENOUGH = 2.0  # hours of observation that weigh as much as what an hour is shrunk to
MEMORY = 1 * HOUR  # the age at which a launch counts 1/e for the level
LOOK_BACK = 3 * MEMORY
REFRESH = 120.0  # seconds between two forecasts of a pool
SHAPE = 4.0  # of the level's distribution where history cannot tell
WIDEST, NARROWEST = 0.5, 12.0  # shapes; a level that is thought to be known too well follows no unusual day


@dataclass(frozen=True)
class Forecast:
    """Launches expected within the next `seconds`: negative binomial with mean `launches` and this `shape`."""

    launches: float
    shape: float
    seconds: float

    @property
    def hourly(self) -> float:
        """Launches an hour."""
        return self.launches * HOUR / self.seconds

    def chances(self) -> Iterator[float]:
        """The chance of 0, of 1, of 2, ... launches, without end."""
        odds = self.launches / (self.shape + self.launches)
        logarithm, number = self.shape * math.log1p(-odds), 0
        while odds > 0:
            yield math.exp(logarithm)
            logarithm += math.log(odds * (number + self.shape) / (number + 1))
            number += 1
        yield 1.0
        while True:
            yield 0.0


@dataclass(frozen=True)
class Profile:
    """Launches an hour for each hour of the week, from Monday 00:00 UTC; `shape` of how days stray from it."""

    rates: tuple[float, ...]
    shape: float

    def expected(self, start: float, end: float) -> float:
        """Launches between two moments (Unix seconds), as the profile has them."""
        return sum(self.rates[slot] * (until - since) / HOUR for slot, since, until in _hours(start, end))

    def expected_lately(self, since: float, moment: float) -> float:
        """Launches between two moments, each discounted by its age at the second."""
        total, left = 0.0, math.exp((since - moment) / MEMORY)
        for slot, _, until in _hours(since, moment):
            right = math.exp((until - moment) / MEMORY)
            total += self.rates[slot] * (right - left)
            left = right
        return total * MEMORY / HOUR


def _hours(start: float, end: float) -> Iterator[tuple[int, float, float]]:
    """The pieces of each hour between two moments, with the hour's place in the week."""
    while start < end:
        hour = math.floor(start / HOUR)
        until = min(end, (hour + 1) * HOUR)
        yield (hour + MONDAY) % WEEK, start, until
        start = until


def learn(counts: NDArray[np.float64], first_hour: int) -> Profile:
    """The profile after these launches in each hour, the first of which is the `first_hour`th of Unix time."""
    hours = first_hour + np.arange(len(counts))
    slots = (hours + MONDAY) % WEEK
    weights = FORGET_WEEK ** ((first_hour + len(counts) - 1 - hours) // WEEK)
    made = np.bincount(slots, weights * counts, WEEK)
    seen = np.bincount(slots, weights, WEEK)
    mean = (counts.sum() + 0.5) / (len(counts) + 1)  # Jeffreys' prior for a rate: half a launch more than was seen
    week = np.arange(WEEK)
    alike = week % 24 + 24 * (week // 24 >= 5)  # the same hour on working days, or on the weekend
    such_made, such_seen = np.bincount(alike, made, 48), np.bincount(alike, seen, 48)
    such = (such_made + ENOUGH * mean) / (such_seen + ENOUGH)
    rates = (made + ENOUGH * such[alike]) / (seen + ENOUGH)
    return Profile(tuple(rates.tolist()), _shape(counts, rates[slots]))


def _shape(counts: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    strayed = float(((counts - expected) ** 2 - expected).sum())
    known = float((expected**2).sum())
    doubt = 20.0  # expected launches squared that weigh as much as the presumption
    inverse = (strayed + doubt / SHAPE) / (known + doubt)
    return min(NARROWEST, max(WIDEST, 1 / inverse if inverse > 0 else NARROWEST))


def expect(known: Profile, recent: Iterable[float], *, since: float, moment: float, seconds: float) -> Forecast:
    """What comes in the `seconds` after `moment`, given the `recent` launches (Unix seconds) seen since `since`."""
    since = max(since, moment - LOOK_BACK)
    seen = sum(math.exp((at - moment) / MEMORY) for at in recent if since <= at <= moment)
    shape = known.shape + seen
    level = shape / (known.shape + known.expected_lately(since, moment))
    return Forecast(known.expected(moment, moment + seconds) * level, shape, seconds)


class Launches:
    """What is remembered of a pool's launches: by the hour for weeks, one by one for the last hours."""

    def __init__(self, since: float) -> None:
        """Nothing was launched since the moment `since` (Unix seconds), from when on launches are noted."""
        self._since = since
        self._by_hour: Counter[int] = Counter()
        self._recent: deque[float] = deque()
        self._profile: Profile | None = None
        self._learn_at = 0

    def note(self, at: float) -> None:
        """There was a launch; moments may come in any order within an hour."""
        self._by_hour[math.floor(at / HOUR)] += 1
        self._recent.append(at)
        self._forget_before(at - LOOK_BACK)

    def forecast(self, moment: float, seconds: float) -> Forecast:
        """What comes in the `seconds` after `moment`."""
        self._forget_before(moment - LOOK_BACK)
        return expect(self.profile(moment), self._recent, since=self._since, moment=moment, seconds=seconds)

    def _forget_before(self, moment: float) -> None:
        while self._recent and self._recent[0] < moment:
            self._recent.popleft()

    def profile(self, moment: float) -> Profile:
        """The profile of the full hours; made anew each hour at first, and each day when much is known."""
        hour = math.floor(moment / HOUR)
        if self._profile is None or hour >= self._learn_at:
            first = max(math.ceil(self._since / HOUR), hour - REMEMBERED)
            self._learn_at = hour + min(24, max(1, (hour - first) // 24))
            self._by_hour = Counter({h: n for h, n in self._by_hour.items() if h >= first})
            counts = np.array([self._by_hour[h] for h in range(first, hour)], dtype=np.float64)
            self._profile = learn(counts, first)
        return self._profile
