"""Pools as administrators see them: what each would do and why, and its past, from its present and the audit log."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from broker.pools import overview, standing, stock
from broker.pools.models import COMING, LIVE, MOVES, CloudStanding, MachineState, PoolMode
from broker.pools.overview import past
from broker.pools.overview.past import _walk_back
from broker.runtime import Runtime
from broker.sessions import waiting
from broker.settings import Settings

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


def test_a_busy_pool_hides_nothing_of_another_ones_past(each_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each so much is looked at; where that is not enough, what is shown begins later, and is right."""
    for pool in ("light-ral", *["light-dl"] * 6):
        with each_runtime.database.transaction() as db:
            stock.request(db, each_runtime.settings.pools[pool], None, "in a test")
    monkeypatch.setattr(past, "MOST_EVENTS", 4)
    with each_runtime.database.reading() as db:
        quiet, busy = (overview.history(db, each_runtime.settings, pool, 1) for pool in ("light-ral", "light-dl"))
    assert quiet.coming == [0, 1, 1]
    assert quiet.at[-1] - quiet.at[0] == pytest.approx(3600, abs=1)
    assert busy.coming == [2, 3, 4, 5, 6, 6]
    assert busy.at[-1] - busy.at[0] < 60


def test_many_pools_are_shown_with_as_few_queries_as_some(runtime: Runtime) -> None:
    """The dashboard and the portal ask again whenever something changes."""
    asked: list[str] = []
    event.listen(runtime.database.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    settings = runtime.settings
    like = settings.pools["light-ral"]
    more = {f"p{n}": like.model_copy(update={"name": f"p{n}"}) for n in range(50)}

    def queries(known: Settings) -> int:
        asked.clear()
        with runtime.database.reading() as db:
            assert len(overview.pools(db, known, {})) == len(known.pools)
            waiting.look(db, known)
        return len(asked)

    assert queries(settings) == queries(settings.model_copy(update={"pools": {**settings.pools, **more}}))


def reason(runtime: Runtime, pool: str = "light-ral") -> str:
    """What the pool's card says."""
    with runtime.database.reading() as db:
        return next(card.reason for card in overview.pools(db, runtime.settings, {}) if card.name == pool)


def test_a_card_says_what_the_manager_will_do_and_what_holds_it_back(runtime: Runtime) -> None:
    """Not that it builds where it cannot."""
    assert reason(runtime) == "building 2: target 2, 0 vacant, 0 coming"
    with runtime.database.transaction() as db:
        db.add(CloudStanding(name="ral", faults=9))
        db.add(CloudStanding(name="dl", room_cores=3))
    assert reason(runtime) == "2 short of target 2: its cloud is away"
    assert reason(runtime, "light-dl") == "3 short of target 1, 2 more for pools whose cloud is away: " + (
        "its cloud's quota leaves no room"
    )
    with runtime.database.transaction() as db:
        standing.row(db, "ral").mode = PoolMode.DRAINING
    assert reason(runtime) == "its cloud is being drained: 0 vacant to go, 0 in use"
