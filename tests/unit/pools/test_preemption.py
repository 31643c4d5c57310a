"""A machine that its cloud takes back: what that means for its pool."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from broker.clouds.adapter import CloudNode
from broker.pools.inventory import Inventory
from broker.pools.manager import PoolManager
from broker.pools.models import Machine, MachineState, Pool
from broker.runtime import Runtime

M = MachineState
TAKEN = CloudNode("n-1", "m", "failed", None, None, {"beamdesk-machine": "1"}, error="preempted")


@pytest.fixture
def vacant(runtime: Runtime) -> Runtime:
    """A deployment whose only pool keeps one machine, which is vacant."""
    pools = runtime.settings.pools
    one = pools["light-ral"].model_copy(update={"target": 1, "preemptible": True})
    pools.clear()
    pools[one.name] = one
    with runtime.database.transaction() as db:
        kind = {"pool": one.name, "environment": "light", "size": "small", "cloud": "ral"}
        db.add(Machine(id=1, **kind, state=M.VACANT, node_id="n-1", attempt=0))
    return runtime


def states(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as db:
        return list(db.scalars(select(Machine.state).order_by(Machine.id)))


def test_a_vacant_machine_that_was_pre_empted_is_just_replaced(vacant: Runtime) -> None:
    """It is nobody's failure: its pool builds the next one at once."""
    Inventory(vacant)._settle("ral", [TAKEN])
    manager = PoolManager(vacant)
    manager._fill({}, manager._standings())
    assert states(vacant) == [M.DELETING, M.REQUESTED]
    with vacant.database.reading() as db:
        assert db.get(Pool, "light-ral") is None


def test_one_of_an_ordinary_pool_that_breaks_is_kept_to_be_looked_at(vacant: Runtime) -> None:
    """And its pool waits before it builds again."""
    vacant.settings.pools["light-ral"] = vacant.settings.pools["light-ral"].model_copy(update={"preemptible": False})
    Inventory(vacant)._settle("ral", [TAKEN])
    manager = PoolManager(vacant)
    manager._fill({}, manager._standings())
    assert states(vacant) == [M.FAILED]
    with vacant.database.reading() as db:
        pool = db.get_one(Pool, "light-ral")
    assert (pool.failures, pool.failure) == (1, "preempted")
