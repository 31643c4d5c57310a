"""The simulated clock: one policy through one scenario, event by event.

What is decided is decided by the service's own functions: allocation.choose(), sizing.plan(), sizing.deal(), the
forecast, and the pauses after failures. What the manager does each second happens here in the second after something
changed; forecasts are made anew as often as the manager makes them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from broker.pools import allocation, sizing
from broker.pools.allocation import Choice, Refusal, Wish
from broker.pools.breaker import pause
from broker.pools.forecast import REFRESH, Launches
from broker.pools.reserving import Booking
from broker.simulation.faults import weather
from broker.simulation.figures import Figures, Recorder, Wait
from broker.simulation.policies import ADVISED, Policy, advised, bases
from broker.simulation.scenario import Launch, Pool, Scenario
from broker.simulation.stock import Stock

TICK = 1.0  # seconds between two passes of the manager
SAMPLE = 300.0  # seconds between two points of the plots
DELETE = 30.0  # seconds until a machine is gone
KEEP_FAILED = 600.0  # seconds until a failed machine is removed
REFUSED_AFTER = 5.0  # seconds until a cloud that is away is known to be so
RETRY_FIRST, RETRY_LONGEST = 5.0, 600.0  # seconds between tries after failures
NEARS = 6 * 3600.0  # seconds before its begin, from which on a booking is looked at each minute
Alike = tuple[Wish, int | None]  # whoever has the same wish, and a seat of the same booking or of none
SPREAD = 0.2  # of build times: the standard deviation of their logarithm


@dataclass(frozen=True)
class Waiting:
    """Somebody who waits, and for which pool; `full` where all pools were at their limits when they came."""

    launch: Launch
    pool: str
    full: bool


def in_order(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Who is served first: who came first, as fairness.order() has it where nobody is of a group or asks twice."""
    return sorted(waiting, key=lambda one: one.launch.at)


class Engine:
    """One run; `run()` may be called once."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int = 0) -> None:
        """Nothing has happened, and no machine is there."""
        self._scenario, self._policy, self._draw = scenario, policy, random.Random(seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = count()
        self._launches = iter(scenario.launches)
        self._now = scenario.launches[0].at if scenario.launches else scenario.measured_from
        self._clouds = {cloud.name: cloud for cloud in scenario.clouds}
        self._faults = {name: [f for f in scenario.faults if f.cloud == name] for name in self._clouds}
        self._stocks = self._make_stocks()
        self._environments: dict[str, list[Stock]] = defaultdict(list)
        self._cloud_stocks: dict[str, list[Stock]] = defaultdict(list)
        for stock in self._stocks:
            self._environments[stock.pool.environment].append(stock)
            self._cloud_stocks[stock.pool.cloud].append(stock)
        self._by_name = {stock.pool.name: stock for stock in self._stocks}
        for booking in scenario.bookings:
            self._by_name[booking.pool].bookings[booking.id] = booking
        self._waiting: dict[str, list[Waiting]] = defaultdict(list)
        self._to_fill: set[str] = set()
        self._recorder = Recorder()

    def run(self, progress: Callable[[float], None] = lambda share: None) -> Figures:
        """The day to its end; `progress` is told the share that is over."""
        began, until = self._now, self._scenario.until
        self._at(max(began, self._scenario.measured_from), self._begin_to_count)
        self._next_launch()
        self._refresh()
        for cloud in self._clouds:
            self._fill_soon(cloud)
        for booking in self._scenario.bookings:
            for at in range(math.ceil(max(self._now, booking.begins - NEARS)), math.ceil(booking.ends), 60):
                self._at(at, self._look_at, booking)
            self._at(booking.ends, self._look_at, booking)
        happened = 0
        while self._events and self._events[0][0] < until:
            self._now, number, happen, details = heapq.heappop(self._events)
            happen(*details)
            happened += 1
            if number % 1000 == 0:
                progress((self._now - began) / (until - began))
        self._end(until)
        progress(1.0)
        return self._recorder.figures(self._policy, self._stocks, until - self._scenario.measured_from, happened)

    # What there is at the beginning

    def _make_stocks(self) -> list[Stock]:
        shared = bases(self._scenario) if self._policy.shared else {}
        common = {base.name: self._stock(base) for base in shared.values()}
        stocks = [self._stock(pool) for pool in self._scenario.pools]
        for stock in stocks:
            if stock.pool.name in shared:
                stock.base = common[shared[stock.pool.name].name]
                stock.lead.append(self._scenario.specialise_seconds)
                for at in self._scenario.past.get(stock.pool.name, ()):
                    stock.base.launches.note(at)
        return [*stocks, *common.values()]

    def _stock(self, pool: Pool) -> Stock:
        past = self._scenario.past.get(pool.name, ())
        launches = Launches(min((moments[0] for moments in self._scenario.past.values() if moments), default=self._now))
        for at in past:
            launches.note(at)
        target = pool.target if not self._policy.demand or pool.by_demand else 0
        if self._policy is ADVISED:
            start, end = self._scenario.measured_from, self._scenario.until
            target = advised(pool, launches.profile(self._now), start, end)
        return Stock(pool, self._clouds[pool.cloud], target, launches, self._now)

    # The clock

    def _at(self, moment: float, happen: Callable[..., None], *details: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._number), happen, details))

    def _begin_to_count(self) -> None:
        for stock in self._stocks:
            stock.start_counting(self._now)
        self._recorder.counting = True
        self._sample()

    def _sample(self) -> None:
        self._recorder.sample(self._scenario.clock(self._now), self._stocks, sum(map(len, self._waiting.values())))
        self._at(self._now + SAMPLE, self._sample)

    def _end(self, until: float) -> None:
        for stock in self._stocks:
            stock.settle(until)
        for queue in self._waiting.values():
            for one in queue:
                self._note_wait(one, until, over=False)

    def _look_at(self, booking: Booking) -> None:
        """Its pool is filled when it must, and what it kept is given out when it is over."""
        pool = self._by_name[booking.pool].pool
        self._fill_soon(pool.cloud)
        if self._waiting[pool.environment]:
            self._serve(pool.environment)

    # Sessions

    def _next_launch(self) -> None:
        launch = next(self._launches, None)
        if launch is not None:
            self._at(launch.at, self._launch, launch)

    def _launch(self, launch: Launch) -> None:
        self._next_launch()
        choice = self._choose(launch)
        if not isinstance(choice, Choice):
            self._recorder.refuse(launch.wish, choice)
            return
        stock = self._by_name[choice.pool]
        for one in (stock, stock.base):
            if one is not None and launch.booking is None:  # who has a seat is expected by the booking
                one.launches.note(self._now)
        self._recorder.launched(choice.pool)
        if choice.vacant:
            self._start(launch, stock)
        else:
            stock.queued += 1
            stock.seat(launch.booking, waiting=1)
            self._waiting[launch.wish.environment].append(Waiting(launch, choice.pool, stock.full))
        self._fill_soon(stock.pool.cloud)

    def _choose(self, launch: Launch, *, next_in_line: bool = False) -> Choice | Refusal:
        """Nobody overtakes those who wait: a newcomer sees only what they leave."""
        stocks, newcomer = self._environments[launch.wish.environment], not next_in_line
        offers = [stock.offer(self._now, newcomer=newcomer, booking=launch.booking) for stock in stocks]
        return allocation.choose(launch.wish, offers, self._scenario.weights)

    def _start(self, launch: Launch, stock: Stock) -> None:
        stock.settle(self._now)
        stock.vacant -= 1
        stock.acquired += 1
        stock.seat(launch.booking, claimed=1)
        self._at(self._now + launch.seconds, self._finish, stock, launch.booking)

    def _finish(self, stock: Stock, booking: int | None) -> None:
        stock.settle(self._now)
        stock.acquired -= 1
        stock.seat(booking, claimed=-1)
        self._delete(stock, 1)

    def _delete(self, stock: Stock, number: int) -> None:
        stock.deleting += number
        self._at(self._now + DELETE, self._gone, stock, number)

    def _gone(self, stock: Stock, number: int) -> None:
        stock.settle(self._now)
        stock.deleting -= number
        self._fill_soon(stock.pool.cloud)

    def _serve(self, environment: str) -> None:
        """Machines for those who wait, in order, while there are any."""
        stocks, still = self._environments[environment], []
        choices: dict[Alike, Choice | Refusal] = {}  # alike wishes are served alike, until a machine was taken
        for one in in_order(self._waiting[environment]):
            alike = one.launch.wish, one.launch.booking
            if any(stock.vacant for stock in stocks) and alike not in choices:
                choices[alike] = self._choose(one.launch, next_in_line=True)
            choice = choices.get(alike)
            if isinstance(choice, Choice) and choice.vacant:
                self._leave(one)
                self._start(one.launch, self._by_name[choice.pool])
                self._note_wait(one, self._now)
                choices.clear()
            else:
                still.append(one)
        self._waiting[environment] = still

    def _leave(self, one: Waiting) -> None:
        """Somebody waits for their pool no longer."""
        stock = self._by_name[one.pool]
        stock.queued -= 1
        stock.seat(one.launch.booking, waiting=-1)

    def _follow(self, environment: str) -> None:
        """All who wait look where the best chance is now."""
        choices: dict[Alike, Choice | Refusal] = {}
        for place, one in enumerate(self._waiting[environment]):
            alike = one.launch.wish, one.launch.booking
            if alike not in choices:
                choices[alike] = self._choose(one.launch, next_in_line=True)
            choice = choices[alike]
            if isinstance(choice, Choice) and choice.pool != one.pool:
                self._leave(one)
                self._by_name[choice.pool].queued += 1
                self._by_name[choice.pool].seat(one.launch.booking, waiting=1)
                self._waiting[environment][place] = replace(one, pool=choice.pool)
                self._fill_soon(self._by_name[choice.pool].pool.cloud)

    def _note_wait(self, one: Waiting, until: float, *, over: bool = True) -> None:
        if one.launch.at >= self._scenario.measured_from:
            self._recorder.waits.append(Wait(one.pool, until - one.launch.at, one.full, over))

    # Pools

    def _refresh(self) -> None:
        """What the manager does every other minute: look at demand again; those who wait look for a better place."""
        if self._policy.demand:
            for stock in self._stocks:
                if stock.expect(self._now, REFRESH):
                    self._fill_soon(stock.pool.cloud)
        for environment in [name for name, queue in self._waiting.items() if queue]:
            self._follow(environment)
        self._at(self._now + REFRESH, self._refresh)

    def _fill_soon(self, cloud: str) -> None:
        if cloud not in self._to_fill:
            self._to_fill.add(cloud)
            self._at(self._now + TICK, self._fill, cloud)

    def _fill(self, cloud: str) -> None:
        """One pass of the manager over the pools of one cloud."""
        self._to_fill.discard(cloud)
        stocks = self._cloud_stocks[cloud]
        lacks: Counter[str] = Counter()
        for stock in stocks:
            if stock.base is not None:
                lacks[stock.base.pool.name] += self._specialise(stock, stock.base)
        short = {}
        for stock in stocks:
            if stock.base is None:
                stock.lacks = lacks[stock.pool.name]
                short[stock.pool.name] = self._look(stock)
        slots = self._clouds[cloud].concurrent_builds - sum(coming for _, _, coming in short.values())
        for name, number in sizing.deal(short, slots).items():
            for _ in range(number):
                self._build(self._by_name[name])

    def _look(self, stock: Stock) -> tuple[int, int, int]:
        """Remove what is too much; what the pool is short of, as deal() wants it."""
        plan = stock.plan(sizing.UNBOUNDED if stock.retry_at <= self._now else 0, self._now)
        if plan.remove:
            self._remove(stock, plan.remove)
        return stock.queued + stock.lacks - stock.vacant - stock.coming, plan.build, stock.coming

    def _remove(self, stock: Stock, number: int) -> None:
        stock.settle(self._now)
        stock.vacant -= number
        stock.removed += number
        self._delete(stock, number)

    def _specialise(self, stock: Stock, base: Stock) -> int:
        """Take from the base what the pool is short of; how many more it would take."""
        plan = stock.plan(sizing.UNBOUNDED, self._now)
        if plan.remove:
            self._remove(stock, plan.remove)
        taken = min(plan.build, base.vacant)
        if taken:
            for one in (stock, base):
                one.settle(self._now)
            base.vacant -= taken
            stock.coming += taken
            for _ in range(taken):
                self._at(self._now + self._scenario.specialise_seconds, self._built, stock)
        return plan.build - taken

    def _build(self, stock: Stock) -> None:
        now = weather(self._faults[stock.pool.cloud], self._now)
        stock.settle(self._now)
        stock.coming += 1
        stock.builds += 1
        if now.back_at is not None:
            self._at(self._now + REFUSED_AFTER, self._failed, stock, 0.0)
            return
        seconds = stock.pool.build_seconds * now.slower * self._draw.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        if self._draw.random() < now.broken:
            self._at(self._now + seconds, self._failed, stock, KEEP_FAILED)
        else:
            self._at(self._now + seconds, self._built, stock, seconds)

    def _built(self, stock: Stock, seconds: float | None = None) -> None:
        """A machine is vacant, after so many seconds of building; None: it was specialised."""
        stock.settle(self._now)
        stock.coming -= 1
        stock.vacant += 1
        if seconds is not None:
            stock.failures = 0
            stock.lead.append(seconds)
        if self._waiting[stock.pool.environment]:
            self._serve(stock.pool.environment)
        self._fill_soon(stock.pool.cloud)

    def _failed(self, stock: Stock, kept: float) -> None:
        """A build failed; its machine is kept for so many seconds, and the pool pauses."""
        stock.settle(self._now)
        stock.coming -= 1
        stock.failed += 1
        stock.failures += 1
        draw = self._draw.random()
        stock.retry_at = self._now + pause(stock.failures, first=RETRY_FIRST, longest=RETRY_LONGEST, draw=draw)
        self._at(self._now + kept, self._cleared, stock)
        self._at(stock.retry_at, self._fill_soon, stock.pool.cloud)

    def _cleared(self, stock: Stock) -> None:
        stock.settle(self._now)
        stock.failed -= 1
        self._fill_soon(stock.pool.cloud)
