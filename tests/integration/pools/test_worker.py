"""The worker process itself, as `beamdesk worker` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import jobs
from broker.runtime import Runtime, current
from tests.waiting import until

ROOT = Path(__file__).parents[3]
SAID = "what-the-job-said"


def tell() -> None:
    """The job: which pools it knows."""
    runtime = current()
    runtime.redis.rpush(SAID, json.dumps(list(runtime.settings.pools)))


@pytest.fixture
def worker(runtime: Runtime) -> Iterator[None]:
    """A worker on this deployment, until the end of the test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", "from broker.cli import main; main()", "worker"], cwd=ROOT, env=environment
    )
    yield
    process.terminate()
    process.wait(20)


def pools_of_a_job(runtime: Runtime, number: int) -> list[str]:
    """Which pools a job knows that is queued now."""
    jobs.enqueue(runtime.redis, "machines", f"tell-{number}", tell, timeout=60)
    until(lambda: runtime.redis.llen(SAID) == number, "the job to say it", 30)
    found: list[str] = json.loads(runtime.redis.lindex(SAID, -1))  # type: ignore[arg-type]
    return found


def test_the_first_job_after_a_change_of_the_settings_knows_it(runtime: Runtime, worker: None) -> None:
    """Though each has a process of its own, which is gone before it could look twice; later ones know it, too."""
    config = Path(os.environ["BEAMDESK_CONFIG"])
    before = pools_of_a_job(runtime, 1)
    text = config.read_text()
    new = '\n[pools.new]\nenvironment = "light"\nsize = "small"\ncloud = "ral"\ntarget = 1\nlimit = 2\n'
    config.write_text(text + new)
    assert pools_of_a_job(runtime, 2) == [*before, "new"]
    assert pools_of_a_job(runtime, 3) == [*before, "new"]
    config.write_text(text + new.replace("light", "nothing"))
    assert pools_of_a_job(runtime, 4) == [*before, "new"]
    config.write_text(text)
    assert pools_of_a_job(runtime, 5) == before
