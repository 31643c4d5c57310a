"""Who gets the warm machines of a base."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker.pools.warmth import Kind, Need, Shelf, share

KINDS = [Kind("desktop", "small", "ral"), Kind("desktop", "big", "ral"), Kind("desktop", "small", "dl")]
few = st.integers(0, 5)
needs = st.lists(
    st.builds(Need, st.sampled_from("abcd"), st.sampled_from(KINDS), short=few, waiting=few, vacant=few),
    max_size=4,
    unique_by=lambda need: need.pool,
)
shelves = st.lists(
    st.builds(Shelf, st.sampled_from("xyz"), st.sampled_from(KINDS), vacant=few),
    max_size=3,
    unique_by=lambda shelf: shelf.pool,
)


@given(needs, shelves)
def test_nothing_is_lent_twice_or_beyond_need_or_to_another_kind(wanted: list[Need], stock: list[Shelf]) -> None:
    loans = share(wanted, stock)
    need_of, shelf_of = {each.pool: each for each in wanted}, {each.pool: each for each in stock}
    assert all(need_of[loan.pool].kind == shelf_of[loan.shelf].kind for loan in loans)
    assert all(number <= shelf_of[name].vacant for name, number in Counter(loan.shelf for loan in loans).items())
    assert all(number <= need_of[name].short for name, number in Counter(loan.pool for loan in loans).items())


@given(needs, shelves)
def test_nobody_stays_short_while_a_machine_that_fits_is_on_the_shelf(wanted: list[Need], stock: list[Shelf]) -> None:
    loans = share(wanted, stock)
    taken, got = Counter(loan.shelf for loan in loans), Counter(loan.pool for loan in loans)
    for kind in KINDS:
        over = any(shelf.kind == kind and shelf.vacant > taken[shelf.pool] for shelf in stock)
        assert not (over and any(need.kind == kind and need.short > got[need.pool] for need in wanted))


def test_whoever_waits_comes_first_and_then_the_emptiest_pool() -> None:
    kind = KINDS[0]
    wanted = [Need("full", kind, 2, 0, 3), Need("empty", kind, 2, 0, 0), Need("asked", kind, 2, 1, 4)]
    assert [loan.pool for loan in share(wanted, [Shelf("x", kind, 3)])] == ["asked", "empty", "empty"]
    assert share(wanted, [Shelf("x", kind, 1)])[0].reason == "specialised from x: a session waits"
