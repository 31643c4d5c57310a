"""RQ queues: names, unique ids, retry policy, and the reaper.

Redis is a hint: each job belongs to a row in SQL that says what is to be done, and the manager enqueues again
what is missing. So a job is enqueued under an id made of its work and its attempt; twice the same id is once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.registry import StartedJobRegistry

QUEUES = ("desktops", "sign-ins", "machines", "probes")  # a worker takes from the first that has work


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
        StartedJobRegistry(queue=Queue(name, connection=redis)).cleanup()
