"""Jobs whose worker died: their ids are free again, and nobody stumbles over what Redis has forgotten of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis
from rq.executions import prepare_execution
from rq.registry import StartedJobRegistry

from broker import jobs
from broker.runtime import Runtime
from broker.worker import SettledWorker


def maintained(runtime: Runtime) -> None:
    """What a worker does each ten seconds."""
    SettledWorker(runtime).clean_registries()


def reaped(runtime: Runtime) -> None:
    """What the manager does."""
    jobs.reap(runtime.redis)


def begun_and_died(runtime: Runtime, job_id: str) -> None:
    """A worker takes the job, and is heard of no more until Redis lets its heartbeat expire."""
    jobs.enqueue(runtime.redis, "machines", job_id, print, timeout=60)
    (job,) = jobs.Queue("machines", connection=runtime.redis).jobs
    execution = prepare_execution(SettledWorker(runtime), job)
    _let_expire(runtime.redis, execution.key)


def _let_expire(redis: Redis, execution: str) -> None:
    """As in the worker's heartbeat's 25 seconds: its execution is gone, and its job is among the started ones still."""
    assert redis.pexpire(execution, 0)
    started = StartedJobRegistry("machines", connection=redis).key
    redis.zadd(started, dict.fromkeys(redis.zrange(started, 0, -1), 1))


@pytest.mark.parametrize("frees", [reaped, maintained])
def test_the_id_of_a_job_whose_worker_died_is_free_as_soon_as_its_heartbeat_is_over(
    runtime: Runtime, frees: Callable[[Runtime], None]
) -> None:
    """The work is queued anew, whether the manager or a worker notices first, and neither stumbles."""
    begun_and_died(runtime, "build-7-0")
    assert not jobs.enqueue(runtime.redis, "machines", "build-7-0", print, timeout=60)
    frees(runtime)
    assert jobs.enqueue(runtime.redis, "machines", "build-7-0", print, timeout=60)
    (job,) = jobs.Queue("machines", connection=runtime.redis).jobs
    assert (job.id, job.execution_registry.get_execution_ids()) == ("build-7-0", [])
