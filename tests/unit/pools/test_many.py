"""Pools on the day of a course, and machines that a cloud still shows while they go."""

from __future__ import annotations

from broker.clouds.adapter import CloudNode
from broker.pools.models import MachineState
from broker.pools.reconcile import Memory, Row, compare
from broker.pools.sizing import Counts, plan


def test_a_course_of_seventy_is_built_in_as_few_batches_as_the_cloud_takes() -> None:
    """Not one machine for each look at the pool."""
    assert plan(Counts(), target=70, limit=80, batch=70).build == 70
    assert plan(Counts(vacant=10, coming=20), target=70, limit=80, batch=25).build == 25
    assert plan(Counts(vacant=10, coming=60), target=70, limit=80, batch=25).build == 0, "what comes is counted"


def test_a_machine_that_is_being_deleted_does_not_come_back() -> None:
    """Though its cloud lists it as running for a while, or as failed."""
    going = Row(7, MachineState.DELETING, "node-7", age=5)
    for state in ("running", "building", "failed"):
        node = CloudNode("node-7", "m", state, "10.0.0.7", "ssh-ed25519 AAAA", {"beamdesk-machine": "7"})
        assert compare([going], [node], Memory(), build_timeout=900) == []
