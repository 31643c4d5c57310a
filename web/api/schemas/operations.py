"""The deployment as a whole: figures, workers, the audit log, health."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from web.api.schemas import Asked, Given, Id


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


class EventsQuery(Asked):
    """A page of the audit log; `before` is the last id of the page before."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Id | None = None


class EventOut(Given):
    """One line of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    kind: str
    subject: str
    detail: dict[str, object]


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
