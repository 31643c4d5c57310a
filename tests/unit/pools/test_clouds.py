"""When a cloud is asked again, and who stands in for it meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clouds.adapter import Room
from broker.pools.breaker import LONGEST_WISH, Breaker, breaker, pause
from broker.pools.stock import fitting
from broker.pools.takeover import Share, taken_over
from broker.settings import SizeSettings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SMALL, LARGE, GPU = (0, 1, 2.0), (0, 8, 32.0), (1, 8, 32.0)


@pytest.mark.parametrize(
    ("faults", "seconds", "state"),
    [
        (0, None, Breaker.CLOSED),
        (2, 60, Breaker.CLOSED),
        (3, 60, Breaker.OPEN),
        (3, -1, Breaker.HALF_OPEN),
        (9, None, Breaker.HALF_OPEN),
    ],
)
def test_a_breaker_opens_after_some_faults_and_lets_one_try_through_after_each_pause(
    faults: int, seconds: float | None, state: Breaker
) -> None:
    retry_at = None if seconds is None else NOON + timedelta(seconds=seconds)
    assert breaker(faults, retry_at, NOON, away_after=3) is state


def test_a_pause_doubles_up_to_the_longest() -> None:
    assert [pause(n, first=5, longest=60, draw=1) for n in range(7)] == [0, 5, 10, 20, 40, 60, 60]


@given(st.integers(1, 1000), st.floats(0, 1))
def test_chance_makes_a_pause_shorter_by_half_at_most(tries: int, draw: float) -> None:
    """Never a hot loop, and never all at once."""
    whole = pause(tries, first=5, longest=60, draw=1)
    assert whole / 2 <= pause(tries, first=5, longest=60, draw=draw) <= whole


@given(st.integers(0, 100), st.floats(0, 1e9))
def test_a_cloud_is_not_asked_earlier_than_it_wishes_within_reason(tries: int, wished: float) -> None:
    assert pause(tries, first=5, longest=60, draw=0, wished=wished) >= min(wished, LONGEST_WISH)
    assert pause(tries, first=5, longest=60, draw=1, wished=wished) <= LONGEST_WISH


def share(pool: str, *, away: bool = False, missing: int = 0, room: int = 0, **has: object) -> Share:
    values = {"environment": "light", "size": SMALL, **has}
    return Share(pool=pool, serving=not away, missing=missing, room=room, **values)  # type: ignore[arg-type]


def test_pools_of_other_clouds_stand_in_as_far_as_their_limits_allow() -> None:
    assert taken_over([share("a", away=True, missing=5), share("b", room=3), share("c", room=9)]) == {"b": 3, "c": 2}


def test_two_lost_pools_do_not_count_on_the_same_room() -> None:
    lost = [share("a", away=True, missing=2), share("b", away=True, missing=2)]
    assert taken_over([*lost, share("c", room=3)]) == {"c": 3}


def test_nothing_smaller_stands_in_and_the_smallest_that_fits_does() -> None:
    """A GPU pool could stand in for any, and is left for those who need it while others can."""
    lost = share("a", away=True, missing=2, size=LARGE)
    offered = [share("gpu", size=GPU, room=9), share("tiny", room=9), share("large", size=LARGE, room=1)]
    assert taken_over([lost, *offered]) == {"large": 1, "gpu": 1}


def test_what_a_serving_pool_lacks_is_its_own_to_build() -> None:
    assert taken_over([share("a", missing=4), share("b", room=9)]) == {}


@pytest.mark.parametrize(
    ("lost", "other", "fits"),
    [
        ({}, {"environment": "science"}, False),
        ({}, {"architecture": "aarch64"}, False),
        ({"size": GPU, "gpu_model": "A100"}, {"size": GPU, "gpu_model": "T4"}, False),
        ({"size": GPU, "gpu_model": "A100"}, {"size": GPU, "gpu_model": "A100"}, True),
        ({}, {"size": GPU, "gpu_model": "T4"}, True),
        ({}, {"groups": ("staff",)}, False),
        ({"groups": ("staff", "few")}, {"groups": ("staff",)}, False),
        ({"groups": ("staff",)}, {"groups": ("staff", "few")}, True),
        ({"groups": ("staff",)}, {}, True),
    ],
)
def test_only_a_pool_of_the_kind_that_the_same_people_may_use_stands_in(
    lost: dict[str, object], other: dict[str, object], fits: bool
) -> None:
    taken = taken_over([share("a", away=True, missing=4, **lost), share("b", room=9, **other)])
    assert taken == ({"b": 4} if fits else {})


@pytest.mark.parametrize(
    ("room", "machines"),
    [(Room(), 1_000_000), (Room(nodes=3), 3), (Room(3, 7, 100), 1), (Room(3, 40, 9.5), 1), (Room(3, 3, 100), 0)],
)
def test_no_more_machines_are_asked_for_than_the_quota_has_space_for(room: Room, machines: int) -> None:
    """Of 4 cores and 8 GB each: cores and memory bound it, too."""
    assert fitting(room, SizeSettings(name="s", cores=4, memory_gb=8)) == machines
