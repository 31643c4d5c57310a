"""Time to desktop, the product's own figure: from the marks of all launches, for people and for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from broker.database import now
from broker.pools import figures, sizing, stock
from broker.pools.models import MachineState
from broker.runtime import Runtime
from broker.sessions import booked, idleness
from broker.sessions.idle import activity_of
from broker.sessions.models import LIVE, STAGES, LaunchMark, SessionState, UserSession
from broker.settings import Settings

BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300)  # seconds
RECENT = 200  # launches of each environment that the dashboard looks at


@dataclass(frozen=True)
class StageTimes:
    """Seconds since the click at which a stage was reached, among recent launches."""

    stage: str
    launches: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Bar:
    """How many launches took at most `upto` seconds and more than the bar before; None is everything beyond."""

    upto: float | None
    launches: int


@dataclass(frozen=True)
class LaunchTimes:
    """One environment's recent launches; the bars are of the last stage that was measured."""

    environment: str
    title: str
    launches: int
    shown: str
    stages: list[StageTimes]
    bars: list[Bar]


def launch_times(db: Session, settings: Settings) -> list[LaunchTimes]:
    """The recent launches of every environment."""
    return [_environment(db, name, environment.title) for name, environment in settings.environments.items()]


def _environment(db: Session, name: str, title: str) -> LaunchTimes:
    recent = (
        select(LaunchMark.session_id)
        .where(LaunchMark.environment == name, LaunchMark.stage == "ready")
        .order_by(LaunchMark.session_id.desc())
        .limit(RECENT)
    )
    times: dict[str, list[float]] = {}
    rows = select(LaunchMark.stage, LaunchMark.seconds).where(LaunchMark.session_id.in_(recent))
    for stage, seconds in db.execute(rows):
        times.setdefault(stage, []).append(seconds)
    stages = [_stage(stage, sorted(times[stage])) for stage in STAGES if stage in times]
    shown = "first_frame" if "first_frame" in times else "ready"
    return LaunchTimes(name, title, len(times.get("ready", ())), shown, stages, _bars(times.get(shown, [])))


def _stage(stage: str, seconds: Sequence[float]) -> StageTimes:
    return StageTimes(stage, len(seconds), round(quantile(seconds, 0.5), 3), round(quantile(seconds, 0.95), 3))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least `share` of them do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def _bars(times: Sequence[float]) -> list[Bar]:
    edges = [0.0, *BUCKETS]
    bars = [
        Bar(upto, sum(1 for seconds in times if low < seconds <= upto or (low == 0 and seconds <= 0)))
        for low, upto in zip(edges, BUCKETS, strict=False)
    ]
    return [*bars, Bar(None, sum(1 for seconds in times if seconds > BUCKETS[-1]))]


class Figures:
    """A Prometheus collector that computes from the database, so that every web process says the same."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def _settings(self) -> Settings:
        return self._runtime.settings

    def collect(self) -> Iterator[Metric]:
        """All figures at one moment."""
        with self._runtime.database.reading() as db:
            yield from self._pools(db)
            yield from figures.clouds(db, self._settings)
            yield self._sessions(db)
            yield self._uses(db)
            yield self._reservations(db)
            yield _launches(db)

    def _pools(self, db: Session) -> Iterator[Metric]:
        machines = GaugeMetricFamily("beamdesk_machines", "Machines that are not gone.", labels=["pool", "state"])
        targets = GaugeMetricFamily("beamdesk_pool_target", "Vacant machines that are kept.", labels=["pool"])
        limits = GaugeMetricFamily("beamdesk_pool_limit", "Machines that a pool may hold.", labels=["pool"])
        failures = GaugeMetricFamily("beamdesk_pool_failures", "Failures in a row of a pool.", labels=["pool"])
        expected = GaugeMetricFamily("beamdesk_pool_launches_expected", "Launches an hour, forecast.", labels=["pool"])
        wishes, demands = stock.wishes_of_administrators(db), stock.demands(db, self._settings)
        for name, held in stock.counts(db, self._settings.pools).items():
            target, limit = stock.target_and_limit(self._settings.pools[name], wishes.get(name))
            demand = demands.get(name) if stock.is_serving(wishes.get(name)) else None
            targets.add_metric([name], sizing.goal(target, demand))
            if demand is not None:
                expected.add_metric([name], demand.forecast.hourly)
            limits.add_metric([name], limit)
            failures.add_metric([name], wishes[name].failures if name in wishes else 0)
            for state in MachineState:
                if state != MachineState.DELETED:
                    machines.add_metric([name, state.value], held.get(state, 0))
        yield from (machines, targets, limits, failures, expected)

    def _sessions(self, db: Session) -> Metric:
        sessions = GaugeMetricFamily(
            "beamdesk_sessions", "Sessions that are not over; queued ones wait.", labels=["environment", "state"]
        )
        rows = db.execute(
            select(UserSession.environment, UserSession.state, func.count())
            .where(UserSession.state.in_(LIVE))
            .group_by(UserSession.environment, UserSession.state)
        )
        found = {(environment, str(state)): number for environment, state, number in rows}
        for environment in {*self._settings.environments, *(name for name, _ in found)}:
            for state in LIVE:
                sessions.add_metric([environment, state.value], found.get((environment, state.value), 0))
        return sessions

    def _uses(self, db: Session) -> Metric:
        uses = GaugeMetricFamily("beamdesk_sessions_use", "Ready sessions by use.", labels=["environment", "use"])
        moment = now()
        ready = db.scalars(select(UserSession).where(UserSession.state == SessionState.READY)).all()
        found = Counter((one.environment, idleness.use(activity_of(one), moment)) for one in ready)
        for environment in {*self._settings.environments, *(name for name, _ in found)}:
            for use in idleness.Use:
                uses.add_metric([environment, use.value], found[environment, use])
        return uses

    def _reservations(self, db: Session) -> Metric:
        seats = GaugeMetricFamily(
            "beamdesk_reservation_seats", "Seats of reservations.", labels=["reservation", "environment", "of"]
        )
        for card in booked.cards(db, self._settings):
            for of, number in {"booked": card.seats, "taken": card.taken, "ready": card.ready}.items():
                seats.add_metric([str(card.id), card.environment, of], number)
        return seats


def _launches(db: Session) -> Metric:
    """Cumulative over all launches ever: marks are never removed, so the counts only grow."""
    family = HistogramMetricFamily(
        "beamdesk_launch_seconds",
        "Seconds since the click at which a stage was reached.",
        labels=["environment", "stage"],
    )
    columns = [func.sum(case((LaunchMark.seconds <= upto, 1), else_=0)) for upto in BUCKETS]
    rows = db.execute(
        select(LaunchMark.environment, LaunchMark.stage, func.sum(LaunchMark.seconds), func.count(), *columns).group_by(
            LaunchMark.environment, LaunchMark.stage
        )
    )
    for environment, stage, total, number, *below in rows:
        buckets = [(str(float(upto)), float(count)) for upto, count in zip(BUCKETS, below, strict=True)]
        family.add_metric([environment, stage], [*buckets, ("+Inf", float(number))], sum_value=float(total))
    return family
