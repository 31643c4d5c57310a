"""The worker process: RQ's own worker, told to notice dead colleagues soon."""

from __future__ import annotations

from rq import Queue, Worker

from broker.jobs import QUEUES
from broker.runtime import Runtime


def run(runtime: Runtime) -> None:
    """Work on all queues, user-facing work first, until SIGTERM or SIGINT."""
    # Imported before the fork: each job's child then starts in milliseconds.
    import broker.pools.jobs
    import broker.sessions.jobs  # noqa: F401

    queues = [Queue(name, connection=runtime.redis) for name in QUEUES]
    worker = Worker(queues, connection=runtime.redis, worker_ttl=25, job_monitoring_interval=5, maintenance_interval=10)
    runtime.database.close()
    worker.work(logging_level="WARNING", with_scheduler=False)
