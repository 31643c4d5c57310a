"""A pool's past, from its present and the audit log."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.pools.models import COMING, LIVE, MOVES, MachineState
from broker.pools.overview import _walk_back

M = MachineState
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=40))
def test_walking_back_finds_what_walking_forward_made(choices: list[tuple[int, int]]) -> None:
    """Any life of any machines: each moment of the past has the counts that it had."""
    machines: dict[int, MachineState | None] = dict.fromkeys(range(6))
    moves, seen = [], [dict(machines)]
    for minute, (machine, choice) in enumerate(choices):
        before = machines[machine]
        possible = sorted(MOVES[before]) if before is not None else [M.REQUESTED]
        if not possible:
            continue
        machines[machine] = possible[choice % len(possible)]
        moves.append((NOON + timedelta(minutes=minute), str(machines[machine]), before))
        seen.append(dict(machines))
    held = Counter(state for state in machines.values() if state in LIVE)
    history = _walk_back(held, reversed(moves), NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    for group, states in (
        ("vacant", {M.VACANT}),
        ("coming", set(COMING)),
        ("acquired", {M.ACQUIRED}),
        ("failed", {M.FAILED}),
    ):
        expected = [sum(state in states for state in moment.values()) for moment in seen]
        assert getattr(history, group) == [*expected, expected[-1]], group
    assert history.at == sorted(history.at)


def test_machines_that_were_there_before_the_window_are_counted() -> None:
    """Two vacant all along, one of them taken in between."""
    taken = (NOON, "acquired", "vacant")
    history = _walk_back(
        Counter({M.VACANT: 1, M.ACQUIRED: 1}), [taken], NOON - timedelta(hours=1), NOON + timedelta(hours=1)
    )
    assert history.vacant == [2, 1, 1]
    assert history.acquired == [0, 1, 1]
