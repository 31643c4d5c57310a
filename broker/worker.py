"""The worker process: RQ's own worker, told to notice dead colleagues soon."""

from __future__ import annotations

import rq
import rq.job

from broker.jobs import QUEUES, Job, Queue
from broker.runtime import Runtime


class SettledWorker(rq.Worker):
    """Reads the settings before each job, because the job's own process is gone before it could look twice."""

    job_class = Job

    def __init__(self, runtime: Runtime) -> None:
        queues = [Queue(name, connection=runtime.redis) for name in QUEUES]
        super().__init__(
            queues, connection=runtime.redis, worker_ttl=25, job_monitoring_interval=5, maintenance_interval=10
        )
        self._runtime = runtime

    def fork_work_horse(self, job: rq.job.Job, queue: rq.Queue) -> None:
        """Fork with the settings as they are now."""
        self._runtime.settle()
        super().fork_work_horse(job, queue)


def run(runtime: Runtime) -> None:
    """Work on all queues, user-facing work first, until SIGTERM or SIGINT."""
    # Imported before the fork: each job's child then starts in milliseconds.
    import broker.identity.refreshing
    import broker.pools.jobs
    import broker.sessions.jobs  # noqa: F401

    runtime.database.close()
    SettledWorker(runtime).work(logging_level="WARNING", with_scheduler=False)
