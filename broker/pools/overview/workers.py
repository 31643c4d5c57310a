"""Who works on what, as RQ knows it."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.worker import BaseWorker

from broker.database import now
from broker.jobs import QUEUES


@dataclass(frozen=True)
class WorkerCard:
    """One RQ worker; `seconds` since it last said that it lives."""

    name: str
    state: str
    job: str | None
    seconds: float | None


@dataclass(frozen=True)
class QueueCard:
    """One RQ queue."""

    name: str
    waiting: int
    running: int


@dataclass(frozen=True)
class Workforce:
    """Who works on what. `away` says why nothing is known, where Redis does not answer."""

    workers: list[WorkerCard]
    queues: list[QueueCard]
    away: str | None = None


def workforce(redis: Redis) -> Workforce:
    """RQ's workers and queues; where Redis is away, that is said."""
    try:
        queues = [_queue(Queue(name, connection=redis)) for name in QUEUES]
        return Workforce(sorted((_worker(w) for w in Worker.all(connection=redis)), key=lambda w: w.name), queues)
    except (RedisError, OSError) as error:
        return Workforce([], [], away=f"Redis does not answer: {error}")


def _queue(queue: Queue) -> QueueCard:
    return QueueCard(queue.name, queue.count, queue.started_job_registry.get_job_count(cleanup=False))


def _worker(worker: BaseWorker) -> WorkerCard:
    beat = worker.last_heartbeat
    return WorkerCard(
        name=worker.name[:12],
        state=worker.get_state(),
        job=worker.get_current_job_id(),
        seconds=max(0.0, round((now() - beat).total_seconds(), 1)) if beat is not None else None,
    )
