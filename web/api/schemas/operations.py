"""The deployment as a whole: figures, workers, the audit log, health."""

from __future__ import annotations

from web.api.schemas import Given


class OverviewOut(Given):
    """The deployment in a few numbers; `desktop_p50` is the recent median time to a desktop, in seconds."""

    ready: int
    preparing: int
    queued: int
    vacant: int
    coming: int
    acquired: int
    failed: int
    degraded: int
    desktop_p50: float | None


class WorkerOut(Given):
    """One worker of the queues."""

    name: str
    state: str
    job: str | None
    seconds: float | None


class QueueOut(Given):
    """One queue of jobs."""

    name: str
    waiting: int
    running: int


class WorkforceOut(Given):
    """Workers and queues; `away` says why nothing is known, where that is so."""

    workers: list[WorkerOut]
    queues: list[QueueOut]
    away: str | None


class StageOut(Given):
    """Seconds since the click at which recent launches reached a stage."""

    stage: str
    launches: int
    p50: float
    p95: float


class BarOut(Given):
    """How many launches took at most `upto` seconds, and more than the bar before."""

    upto: float | None
    launches: int


class LaunchTimesOut(Given):
    """One environment's recent times to desktop; the bars are of the stage `shown`."""

    environment: str
    title: str
    launches: int
    shown: str
    stages: list[StageOut]
    bars: list[BarOut]


class HealthOut(Given):
    """Whether the parts that this process needs answer."""

    database: bool
    redis: bool
