"""Quantiles and bars of the time to desktop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.sessions.timings import BUCKETS, _bars, quantile

TIMES = st.lists(st.floats(min_value=0, max_value=1000), min_size=1)


@given(TIMES, st.floats(min_value=0.01, max_value=1))
def test_a_quantile_is_a_value_that_enough_do_not_exceed(times: list[float], share: float) -> None:
    """The nearest-rank definition: always one of the values, and the smallest that serves."""
    ordered = sorted(times)
    found = quantile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered) + 1e-9


def test_the_usual_quantiles() -> None:
    """p50 of four is the second, p95 of a hundred the ninety-fifth."""
    assert quantile([1, 2, 3, 4], 0.5) == 2
    assert quantile(list(range(1, 101)), 0.95) == 95
    assert quantile([7], 0.95) == 7


@given(TIMES)
def test_every_launch_stands_in_exactly_one_bar(times: list[float]) -> None:
    """Edges included, zero included, beyond the last edge included."""
    bars = _bars(times)
    assert sum(bar.launches for bar in bars) == len(times)
    assert [bar.upto for bar in bars] == [*BUCKETS, None]
