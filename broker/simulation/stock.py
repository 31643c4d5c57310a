"""A simulated pool: its machines, its queue's length, and what is known of its demand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from broker.pools import builds, sizing
from broker.pools.allocation import Offer
from broker.pools.forecast import Launches
from broker.pools.reserving import Booking, Kept, Pace
from broker.pools.sizing import NONE_MORE, Counts, Demand, More, Plan
from broker.simulation.scenario import Cloud, Pool

MARGIN = 900.0  # seconds before a booking begins, when all its machines are to be vacant


@dataclass
class Hours:
    """Machine hours, in seconds, by what the machines did."""

    vacant: float = 0.0
    coming: float = 0.0
    acquired: float = 0.0
    lost: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.vacant + self.coming + self.acquired + self.lost


@dataclass(eq=False)
class Stock:
    """One pool's state. With a `base`, its machines are made of the base's; `lacks` are those it would take more."""

    pool: Pool
    cloud: Cloud
    target: int
    launches: Launches
    since: float
    base: Stock | None = None
    vacant: int = 0
    coming: int = 0
    acquired: int = 0
    failed: int = 0
    deleting: int = 0
    queued: int = 0
    lacks: int = 0
    failures: int = 0
    retry_at: float = 0.0
    demand: Demand | None = None
    lead: deque[float] = field(default_factory=lambda: deque(maxlen=builds.RECENT))
    hours: Hours = field(default_factory=Hours)
    least: int = 0  # that was to be kept
    most: int = 0
    builds: int = 0
    removed: int = 0
    bookings: dict[int, Booking] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Machines that use the pool's limit."""
        return self.vacant + self.coming + self.acquired + self.failed + self.deleting

    @property
    def full(self) -> bool:
        """Whether no machine may be added, and all that come are spoken for."""
        spare = self.vacant + self.coming - self.queued
        return self.held >= self.pool.limit and spare < 0

    @property
    def lead_seconds(self) -> float:
        """How long a machine takes, as it was measured lately."""
        return sum(self.lead) / len(self.lead) if self.lead else self.pool.build_seconds

    @property
    def goal(self) -> int:
        """Vacant machines to keep now."""
        return sizing.goal(self.target, self.demand)

    def settle(self, moment: float) -> None:
        """Account for the time until now; to be called before anything changes."""
        spent = moment - self.since
        self.since = moment
        hours = self.hours
        hours.vacant += spent * self.vacant
        hours.coming += spent * self.coming
        hours.acquired += spent * self.acquired
        hours.lost += spent * (self.failed + self.deleting)

    def start_counting(self, moment: float) -> None:
        """Forget what was counted until now."""
        self.settle(moment)
        self.hours, self.builds, self.removed = Hours(), 0, 0
        self.least = self.most = self.goal

    def expect(self, moment: float, passed: float) -> bool:
        """Look at the demand again, `passed` seconds after the last look; whether more or less is to be kept now."""
        before = self.goal
        forecast = self.launches.forecast(moment, self.lead_seconds)
        self.demand = sizing.expect(forecast, self.pool.aim, self.demand, passed)
        goal = self.goal
        if goal != before:
            self.least, self.most = min(self.least, goal), max(self.most, goal)
        return goal != before

    def seat(self, booking: int | None, *, claimed: int = 0, waiting: int = 0) -> None:
        """So many more, or fewer, have a machine for the booking, and wait for one."""
        if booking in self.bookings:
            before = self.bookings[booking]
            claimed, waiting = before.claimed + claimed, before.waiting + waiting
            self.bookings[booking] = replace(before, claimed=claimed, waiting=waiting)

    def _kept(self, moment: float) -> Kept:
        pace = Pace(self.lead_seconds, self.cloud.concurrent_builds, MARGIN)
        return Kept(moment, MARGIN, {self.pool.name: list(self.bookings.values())}, {self.pool.name: pace})

    def plan(self, batch: int, moment: float) -> Plan:
        """What the manager would do."""
        more = More(*self._kept(moment).reserved(self.pool.name)) if self.bookings else NONE_MORE
        counts = Counts(self.vacant, self.coming, self.acquired, self.failed, self.deleting, self.queued + self.lacks)
        return sizing.plan(
            counts, target=self.target, limit=self.pool.limit, batch=batch, more=more, demand=self.demand
        )

    def offer(self, moment: float, *, newcomer: bool, booking: int | None = None) -> Offer:
        """The pool as allocation sees it: of its vacant machines, a newcomer sees only what those who wait leave, and
        nobody what is kept for others."""
        whole = self._whole()
        behind = self.queued if newcomer else 0
        if self.bookings:
            return self._kept(moment).net(whole, behind=behind, mine=booking if booking in self.bookings else None)
        return replace(whole, vacant=max(0, whole.vacant - behind)) if behind else whole

    def _whole(self) -> Offer:
        return Offer(
            pool=self.pool.name,
            environment=self.pool.environment,
            location=self.cloud.location,
            place=self.cloud.title,
            cores=self.pool.cores,
            memory_gb=self.pool.memory_gb,
            gpus=self.pool.gpus,
            vacant=self.vacant,
            coming=self.coming,
            room=max(0, self.pool.limit - self.held),
            limit=self.pool.limit,
            serving=True,
            gpu_model=self.pool.gpu_model,
            architecture=self.pool.architecture,
            groups=self.pool.groups,
            cost=self.pool.cost,
            preemptible=self.pool.preemptible,
            demand=self.demand.forecast.launches if self.demand is not None else 0.0,
        )
