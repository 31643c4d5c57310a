"""How a new image comes into use: the pure steps, whatever happens to its machines."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.pools.images import MOVES, ImageState
from broker.pools.rollout import Fleet, next_step

I = ImageState  # noqa: E741 - as M is MachineState
few = st.integers(0, 12)
fleets = st.builds(
    Fleet,
    passed=few,
    failed=few,
    coming=few,
    vacant=few,
    old=few,
    spare=few,
    going=few,
    room=few,
    full=st.booleans(),
    proven=st.booleans(),
)
tried = st.sampled_from([I.BAKED, I.CANARY, I.PARTIAL, I.ACTIVE])


@given(tried, fleets)
def test_a_step_is_one_that_the_states_allow_within_the_room_and_with_a_reason(state: ImageState, fleet: Fleet) -> None:
    """Nothing is built and moved, or built and removed, at once."""
    step = next_step(state, fleet)
    assert step.after is None or step.after in MOVES[state]
    assert step.build <= fleet.room
    assert step.remove <= min(1, fleet.spare), "never a pool's last one"
    assert sum(bool(each) for each in (step.after, step.build, step.remove)) <= 1
    assert step.reason


@given(st.sampled_from([I.CANARY, I.PARTIAL, I.ACTIVE]), fleets.filter(lambda fleet: fleet.failed > 0))
def test_a_failed_machine_ends_it_until_the_image_was_everywhere(state: ImageState, fleet: Fleet) -> None:
    """After that a failure is one of the pool, as any other."""
    assert (next_step(state, fleet).after is I.REJECTED) is not fleet.proven


@given(fleets)
def test_one_machine_is_tried_before_another_is_built(fleet: Fleet) -> None:
    step = next_step(I.CANARY, replace(fleet, failed=0))
    assert step.build == 0 or (step.build == 1 and fleet.passed == fleet.coming == 0)


@given(fleets)
def test_a_tenth_passes_before_the_rest_is_replaced(fleet: Fleet) -> None:
    sound = replace(fleet, failed=0)
    wanted = max(1, math.ceil(0.1 * (fleet.old + fleet.vacant)))
    step = next_step(I.PARTIAL, sound)
    assert step.build + fleet.passed + fleet.coming <= max(wanted, fleet.passed + fleet.coming)
    assert (step.after is I.ACTIVE) == (fleet.passed >= wanted and fleet.coming == 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 6))
def test_a_sound_image_comes_everywhere_and_no_pool_has_fewer_vacant_ones_meanwhile(
    old: int, batch: int, room: int
) -> None:
    """The pools do what sizing does: they let one go for each that is one too many, an old one first."""
    target = old
    state, fleet = I.BAKED, Fleet(old=old)
    for _ in range(400):
        free = room + target - fleet.old - fleet.vacant - fleet.coming
        fleet = replace(
            fleet,
            room=max(0, min(free, batch)),
            full=free <= 0,
            spare=max(0, min(fleet.old, fleet.old + fleet.vacant - 1)),
        )
        step = next_step(state, fleet)
        state = step.after or state
        fleet = replace(fleet, coming=fleet.coming + step.build, old=fleet.old - step.remove)
        assert fleet.old + fleet.vacant >= (target if room else max(1, target - 1) if target else 0)
        arrived = fleet.coming
        fleet = replace(fleet, coming=0, vacant=fleet.vacant + arrived, passed=fleet.passed + arrived)
        surplus = max(0, fleet.old + fleet.vacant - target)
        gone = min(surplus, fleet.old)
        fleet = replace(fleet, old=fleet.old - gone, vacant=fleet.vacant - (surplus - gone))
    if room > 0 or target > 1:
        assert (state, fleet.old) == (I.ACTIVE, 0)
