"""What the jobs of machines do where something fails: the machine's own row says what is next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from rq.job import Job

from broker.clouds.adapter import CloudNode
from broker.database import now
from broker.errors import CloudFault, CloudFull, CloudRefused
from broker.pools import access, builds, jobs
from broker.pools.manager import PoolManager
from broker.pools.models import BuildTime, Machine, MachineState, Pool
from broker.runtime import Runtime
from broker.settings import PoolTimes

M = MachineState


class FakeCloud:
    """A cloud that answers everything with the same error."""

    def __init__(self, error: CloudFault) -> None:
        self.error, self.asked = error, 0

    def build(self, spec: object) -> CloudNode:
        self.asked += 1
        raise self.error

    def destroy(self, node_id: str) -> None:
        self.asked += 1
        raise self.error


@pytest.fixture
def fails(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Callable[[CloudFault], FakeCloud]:
    """Clouds that fail with this error."""

    def make(error: CloudFault) -> FakeCloud:
        cloud = FakeCloud(error)
        monkeypatch.setattr(jobs, "current", lambda: runtime)
        monkeypatch.setattr(jobs, "cloud_of", lambda *_: cloud)
        return cloud

    return make


def machine(runtime: Runtime, state: MachineState, node_id: str | None = None) -> int:
    """A machine's number."""
    with runtime.database.transaction() as db:
        made = Machine(
            pool="light-ral", environment="light", size="small", cloud="ral", state=state, node_id=node_id, attempt=0
        )
        db.add(made)
        db.flush()
        return made.id


def found(runtime: Runtime, id_: int) -> Machine:
    with runtime.database.reading() as db:
        return db.get_one(Machine, id_)


@pytest.mark.parametrize("error", [CloudRefused("No."), CloudFault("Not now.")])
def test_a_cloud_that_removes_nothing_is_asked_again_after_a_while(
    runtime: Runtime, fails: Callable[[CloudFault], FakeCloud], error: CloudFault
) -> None:
    """However it says so: not in each pass of the manager, and ever later."""
    cloud, id_ = fails(error), machine(runtime, M.DELETING, "n-1")
    pauses = []
    for _ in range(4):
        jobs.destroy_machine(id_, 0)
        left = found(runtime, id_)
        assert left.state == M.DELETING
        assert left.due_at is not None
        pauses.append(left.due_at - now())
    assert (cloud.asked, left.tries) == (4, 4)
    assert pauses[0] > timedelta(seconds=2)
    assert pauses[3] > timedelta(seconds=19)


def test_a_machine_that_its_cloud_has_no_room_for_goes_and_its_pool_waits(
    runtime: Runtime, fails: Callable[[CloudFault], FakeCloud]
) -> None:
    """There is nothing to look at, and no sense in asking again at once."""
    fails(CloudFull("Quota exceeded."))
    id_ = machine(runtime, M.REQUESTED)
    jobs.build_machine(id_, 0)
    assert found(runtime, id_).state == M.DELETING
    with runtime.database.reading() as db:
        pool = db.get_one(Pool, "light-ral")
    assert (pool.failures, pool.failure) == (1, "Quota exceeded.")
    assert pool.retry_at is not None
    assert pool.retry_at > now()


def test_machines_of_a_pool_that_fail_at_once_are_all_counted(each_runtime: Runtime) -> None:
    """Also the first ones, which find that nothing is written of their pool yet."""

    def settle(_: int) -> None:
        with each_runtime.database.transaction() as db:
            access.settle(db, each_runtime.settings, "light-ral", "The disk is full.")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(settle, range(16)))
    with each_runtime.database.reading() as db:
        assert db.get_one(Pool, "light-ral").failures == 16


def test_a_job_is_given_more_time_than_the_settings_give_what_it_does(runtime: Runtime) -> None:
    """Roles that may take two hours are not ended after one by the queue."""
    runtime.settings = runtime.settings.model_copy(update={"times": PoolTimes(configure_timeout=7200)})
    runtime.settings.clouds["ral"] = runtime.settings.clouds["ral"].model_copy(update={"timeout": 600})
    configuring, requested = machine(runtime, M.CONFIGURING), machine(runtime, M.REQUESTED)
    manager = PoolManager(runtime)
    manager._queue_work(manager._standings())
    limits = [
        Job.fetch(f"{work}-{id_}-0", connection=runtime.redis).timeout
        for work, id_ in (("configure_machine", configuring), ("build_machine", requested))
    ]
    assert limits[0] > 2 * 7200
    assert limits[1] > 2 * 600


def test_only_the_recent_build_times_are_kept(each_runtime: Runtime) -> None:
    """Of each pool, the newest ones."""
    with each_runtime.database.transaction() as db:
        db.add(BuildTime(pool="light-dl", seconds=7.0))
        for number in range(builds.RECENT + 30):
            builds.note(db, "light-ral", float(number))
    with each_runtime.database.reading() as db:
        times = builds.recent(db, ["light-ral", "light-dl", "science-ral"])
        kept = db.query(BuildTime).count()
    assert times == {"light-ral": [float(n) for n in range(49, 29, -1)], "light-dl": [7.0], "science-ral": []}
    assert kept == builds.RECENT + 1
