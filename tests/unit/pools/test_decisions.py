"""Which pool, how many, and what the cloud's list means: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clouds.adapter import CloudNode
from broker.pools import reconcile, sizing
from broker.pools.allocation import Choice, Offer, Refusal, Wish, choose, ranked, unmet_rule
from broker.pools.models import MOVES, MachineState
from broker.pools.reconcile import Finding, Memory, Row, Step
from broker.pools.sizing import Counts

M = MachineState
small = st.integers(0, 12)
offers = st.lists(
    st.builds(
        Offer,
        pool=st.text("abc", min_size=1, max_size=3),
        environment=st.sampled_from(["light", "science"]),
        location=st.sampled_from(["ral", "dl"]),
        place=st.just("Somewhere"),
        cores=st.integers(1, 8),
        memory_gb=st.floats(1, 64),
        gpus=st.integers(0, 2),
        vacant=small,
        coming=small,
        room=small,
        serving=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda offer: offer.pool,
)
wishes = st.builds(
    Wish,
    environment=st.sampled_from(["light", "science"]),
    location=st.none() | st.sampled_from(["ral", "dl"]),
    cores=st.integers(0, 8),
    gpus=st.integers(0, 2),
)


@given(wishes, offers)
def test_a_choice_always_fits_and_a_refusal_names_each_pool(wish: Wish, found: list[Offer]) -> None:
    """Hard wishes are met, or every pool of the environment says why not."""
    decision = choose(wish, found)
    if isinstance(decision, Refusal):
        assert len(decision.unmet) == sum(offer.environment == wish.environment for offer in found)
    else:
        chosen = next(offer for offer in found if offer.pool == decision.pool)
        assert unmet_rule(chosen, wish) is None
        assert chosen.environment == wish.environment
        assert decision.reason


@given(wishes, offers)
def test_nobody_waits_while_a_machine_that_fits_is_vacant(wish: Wish, found: list[Offer]) -> None:
    """A pool with a vacancy always comes first."""
    decision = choose(wish, found)
    if isinstance(decision, Choice) and any(offer.vacant for offer in ranked(wish, found)):
        assert decision.vacant


counts = st.builds(Counts, vacant=small, coming=small, acquired=small, failed=small, deleting=small, queued=small)


@given(counts, small, st.integers(0, 60), small)
def test_a_plan_stays_within_the_limit_and_the_batch(have: Counts, target: int, limit: int, batch: int) -> None:
    """Nothing is built beyond limit or batch, and nothing is built and removed at once."""
    plan = sizing.plan(have, target=target, limit=limit, batch=batch)
    assert plan.build <= batch
    assert plan.build == 0 or have.held + plan.build <= limit
    assert plan.build == 0 or plan.remove == 0
    assert plan.remove <= have.vacant


@given(counts, small)
def test_a_pool_comes_to_rest_at_its_target(have: Counts, target: int) -> None:
    """Carried out again and again, plans end: no oscillation."""
    vacant, coming = have.vacant, have.coming
    for _ in range(3):
        now = Counts(vacant, coming, have.acquired, have.failed, have.deleting, have.queued)
        plan = sizing.plan(now, target=target, limit=1000, batch=1000)
        vacant, coming = vacant - plan.remove, coming + plan.build
    assert plan.build == plan.remove == 0


def test_every_state_of_a_machine_leads_to_its_deletion() -> None:
    """No machine can be stuck for ever."""
    for state in MachineState:
        reached, frontier = set(), {state}
        while frontier:
            reached |= frontier
            frontier = {after for before in frontier for after in MOVES[before]} - reached
        assert M.DELETED in reached


def node(machine: int | None, state: str = "running") -> CloudNode:
    tags = {} if machine is None else {"beamdesk-machine": str(machine)}
    return CloudNode(f"n{machine}", "name", state, "10.0.0.1", "key", tags)  # type: ignore[arg-type]


def test_a_node_whose_creation_was_never_confirmed_is_adopted() -> None:
    """A create that answered with an error but did create is not built twice."""
    found = reconcile.compare([Row(1, M.REQUESTED, None, 1)], [node(1)], Memory(), build_timeout=60)
    assert [f.step for f in found] == [Step.ADOPT]


def test_a_machine_that_one_list_misses_is_not_lost() -> None:
    """It takes several passes in a row."""
    memory, rows = Memory(), [Row(1, M.VACANT, "n1", 1)]
    assert reconcile.compare(rows, [], memory, build_timeout=60) == []
    assert reconcile.compare(rows, [node(1)], memory, build_timeout=60) == []
    assert reconcile.compare(rows, [], memory, build_timeout=60) == []
    assert reconcile.compare(rows, [], memory, build_timeout=60) == []
    assert [f.step for f in reconcile.compare(rows, [], memory, build_timeout=60)] == [Step.LOST]


@pytest.mark.parametrize(
    ("step", "seen", "said"),
    [
        (Step.LATE, None, "not running 60 s after it was asked for"),
        (Step.LATE, node(1, "building"), "not running 60 s after it was asked for"),
        (Step.LATE, replace(node(1), address=None), "it runs, and has no address 60 s after it was asked for"),
        (
            *(Step.LATE, replace(node(1), address=None, error="it runs, and has not dialled desks.example:2200")),
            "it runs, and has not dialled desks.example:2200 60 s after it was asked for",
        ),
        (
            *(Step.LATE, replace(node(1), host_key=None)),
            "it runs, and its host key is not known 60 s after it was asked for: does its image run cloud-init?",
        ),
        (Step.LOST, None, "the cloud no longer has this machine"),
        (Step.LOST, node(1, "gone"), "the cloud no longer has this machine"),
        (Step.BROKE, replace(node(1, "failed"), error="No valid host was found."), "No valid host was found."),
        (Step.BROKE, node(1, "failed"), "its cloud says that it failed"),
    ],
)
def test_why_a_machine_failed_is_said_as_it_was(step: Step, seen: CloudNode | None, said: str) -> None:
    """A cloud may go on listing a machine for a while that it has no longer."""
    assert reconcile.why(Finding(1, step, seen), build_timeout=60) == said


def test_an_orphan_is_removed_only_after_its_grace_and_never_a_live_one() -> None:
    """A node seen once may be somebody's who is just writing it down."""
    memory, nodes = Memory(), [node(1), node(2)]
    live = {1: "n1"}
    assert reconcile.orphans(nodes, live, memory, moment=100, grace=0) == []
    assert reconcile.orphans(nodes, live, memory, moment=101, grace=30) == []
    assert [n.id for n in reconcile.orphans(nodes, live, memory, moment=131, grace=30)] == ["n2"]


def test_of_two_nodes_of_one_machine_the_one_that_it_does_not_claim_is_an_orphan() -> None:
    """A build whose answer came too late may have been made twice; while nobody knows which counts, both stay."""
    twin = replace(node(1), id="twin")
    for claimed, removed in ((None, []), ("n1", ["twin"]), ("twin", ["n1"])):
        memory = Memory()
        seen = [reconcile.orphans([node(1), twin], {1: claimed}, memory, moment=m, grace=5) for m in (100, 110)]
        assert [n.id for n in seen[1]] == removed
