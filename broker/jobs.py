"""RQ queues: names, unique ids, retry policy, and the reaper.

Redis is a hint: each job belongs to a row in SQL that says what is to be done, and the manager enqueues again
what is missing. So a job is enqueued under an id made of its work and its attempt; twice the same id is once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rq.job
from redis import Redis
from redis.client import Pipeline
from rq.exceptions import DuplicateJobError
from rq.executions import Execution, ExecutionRegistry

QUEUES = ("desktops", "sign-ins", "machines", "probes")  # a worker takes from the first that has work


class Executions(ExecutionRegistry):
    """The times that a job was begun, as they are forgotten.

    RQ 2.12 reads each of them before it forgets it, and raises ValueError where Redis has let it expire already: a dead
    worker's job then holds its id for a minute longer, what reaps raises all that time, and a worker that does, ends.
    This may go when `tests/unit/test_jobs.py` passes without it.
    """

    def delete(self, job: rq.job.Job, pipeline: Pipeline) -> None:
        """Forget all of them, read or not."""
        for id_ in self.get_execution_ids():
            Execution(id_, self.job_id, self.connection).delete(job=job, pipeline=pipeline)
        pipeline.delete(self.key)


class Job(rq.job.Job):
    """RQ's own, whose executions can be forgotten."""

    @property
    def execution_registry(self) -> Executions:
        """The times that it was begun."""
        return Executions(self.id, connection=self.connection)


class Queue(rq.Queue):
    """A queue of such jobs."""

    job_class = Job


def enqueue(redis: Redis, queue: str, job_id: str, function: Callable[..., Any], *args: Any, timeout: float) -> bool:
    """Queue the work once; False where the same job waits or runs already. `timeout` is in seconds.

    Nothing is kept of a finished or failed job: what became of the work stands in SQL, and a kept result would
    block the next enqueue under the same id.
    """
    with suppress(DuplicateJobError):
        Queue(queue, connection=redis).enqueue(
            function, *args, job_id=job_id, unique=True, result_ttl=0, failure_ttl=0, job_timeout=int(timeout)
        )
        return True
    return False


def reap(redis: Redis) -> None:
    """Free the ids of jobs whose worker died; RQ itself would wait up to seven minutes."""
    for name in QUEUES:
        Queue(name, connection=redis).started_job_registry.cleanup()
