"""What a simulated day came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.pools.allocation import Refusal, Wish
from broker.simulation.policies import Policy
from broker.simulation.scenario import HOUR, Pool
from broker.simulation.stock import Hours, Stock


@dataclass(frozen=True)
class Wait:
    """Somebody waited for a machine of this pool; a wait is not `over` where the day ended first.

    `full`: every pool that would have done was at its limit, so that no sizing could have helped.
    """

    pool: str
    seconds: float
    full: bool = False
    over: bool = True


@dataclass(frozen=True)
class Series:
    """The whole service at moments, in hours of the day (UTC)."""

    hour: list[float] = field(default_factory=list)
    vacant: list[int] = field(default_factory=list)
    coming: list[int] = field(default_factory=list)
    acquired: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class PoolFigures:
    """One pool's day: launches, how many waited (`full`: because of a limit), the least and the most machines that
    were to be kept vacant, and how many were on average."""

    name: str
    launches: int
    waited: int
    full: int
    longest_wait: float
    least: int
    most: int
    mean_vacant: float
    limit: int


@dataclass(frozen=True)
class Figures:
    """The day under one policy. Waits in seconds, and `hours` too; `idle_core_hours` are of machines that nobody used,
    `cost` is in the settings' unit. `refusals` counts the launches that no pool could ever serve, by why."""

    policy: Policy
    launches: int
    refusals: Mapping[str, int]
    waits: tuple[Wait, ...]
    hours: Hours
    core_hours: float
    idle_core_hours: float
    cost: float
    builds: int
    removed: int
    series: Series
    pools: tuple[PoolFigures, ...]
    events: int

    @property
    def refused(self) -> int:
        """The launches that no pool could ever serve; they count for nothing else."""
        return sum(self.refusals.values())

    @property
    def waited_share(self) -> float:
        """The share of launches that found nothing vacant."""
        return len(self.waits) / self.launches if self.launches else 0.0

    @property
    def full_share(self) -> float:
        """The share of launches that had to wait because pools were at their limits."""
        return sum(wait.full for wait in self.waits) / self.launches if self.launches else 0.0

    @property
    def utilisation(self) -> float:
        """The share of machine hours in which a session used the machine."""
        return self.hours.acquired / self.hours.total if self.hours.total else 0.0

    @property
    def machine_hours(self) -> float:
        """Machine hours that were paid for."""
        return self.hours.total / HOUR

    def spent(self, by_cost: bool) -> float:
        """What policies are compared by: the cost, or the machine hours."""
        return self.cost if by_cost else self.machine_hours

    def wait(self, share: float) -> float:
        """The wait in seconds that this share of all launches did not exceed."""
        none = self.launches - len(self.waits)
        place = min(self.launches - 1, int(self.launches * share)) - none
        return sorted(wait.seconds for wait in self.waits)[place] if self.launches and place >= 0 else 0.0

    @property
    def longest_wait(self) -> float:
        """The longest wait, in seconds."""
        return max((wait.seconds for wait in self.waits), default=0.0)


class Recorder:
    """Takes notes of a run, from the moment on when counting begins."""

    def __init__(self) -> None:
        """Nothing was noted yet."""
        self.counting = False
        self.launches: dict[str, int] = {}
        self.refusals = Counter[str]()
        self.waits: list[Wait] = []
        self.series = Series()

    def launched(self, pool: str) -> None:
        """A launch was given a machine of this pool, or a place in its queue."""
        if self.counting:
            self.launches[pool] = self.launches.get(pool, 0) + 1

    def refuse(self, wish: Wish, refusal: Refusal) -> None:
        """No pool could ever serve a launch."""
        if self.counting:
            self.refusals[f"{wish.environment}: {refusal.reason}"] += 1

    def sample(self, hour: float, stocks: Iterable[Stock], waiting: int) -> None:
        """A point of the plots."""
        stocks = list(stocks)
        series = self.series
        series.hour.append(hour)
        series.vacant.append(sum(stock.vacant for stock in stocks))
        series.coming.append(sum(stock.coming for stock in stocks))
        series.acquired.append(sum(stock.acquired for stock in stocks))
        series.waiting.append(waiting)

    def figures(self, policy: Policy, stocks: Sequence[Stock], seconds: float, events: int) -> Figures:
        """All in all, after `seconds` of counting."""
        total, core_hours, idle, cost = Hours(), 0.0, 0.0, 0.0
        for stock in stocks:
            hours, cores = stock.hours, stock.pool.cores
            total.vacant += hours.vacant
            total.coming += hours.coming
            total.acquired += hours.acquired
            total.lost += hours.lost
            core_hours += hours.total * cores / HOUR
            idle += (hours.total - hours.acquired) * cores / HOUR
            cost += hours.total * stock.pool.cost / HOUR
        return Figures(
            policy=policy,
            launches=sum(self.launches.values()),
            refusals=self.refusals,
            waits=tuple(self.waits),
            hours=total,
            core_hours=core_hours,
            idle_core_hours=idle,
            cost=cost,
            builds=sum(stock.builds for stock in stocks),
            removed=sum(stock.removed for stock in stocks),
            series=self.series,
            pools=tuple(self._pool(stock.pool, stock, seconds) for stock in stocks),
            events=events,
        )

    def _pool(self, pool: Pool, stock: Stock, seconds: float) -> PoolFigures:
        waits = [wait for wait in self.waits if wait.pool == pool.name]
        return PoolFigures(
            name=pool.name,
            launches=self.launches.get(pool.name, 0),
            waited=len(waits),
            full=sum(wait.full for wait in waits),
            longest_wait=max((wait.seconds for wait in waits), default=0.0),
            least=stock.least,
            most=stock.most,
            mean_vacant=stock.hours.vacant / seconds,
            limit=pool.limit,
        )
