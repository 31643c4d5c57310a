"""The order of the queue: fair to groups and users, and nobody starves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.pools.fairness import Holding, Shares, Waiter, by_share, order

SHARES = Shares(minutes=5)
waiters = st.lists(
    st.builds(
        Waiter,
        id=st.integers(1, 10_000),
        user=st.integers(1, 5),
        group=st.sampled_from(["", "a", "b"]),
        asked=st.floats(0, 10_000),
        line=st.sampled_from(["p", "q"]),
    ),
    unique_by=lambda waiter: waiter.id,
    max_size=30,
)


def ids(*waiting: Waiter, holding: Holding = Holding(), shares: Shares = SHARES) -> list[int]:  # noqa: B008 - frozen
    """Who is served, in order."""
    return [waiter.id for waiter in order(waiting, holding, shares)]


def test_equals_are_served_in_the_order_of_asking() -> None:
    """First come, first served, where nobody holds more than another."""
    assert ids(Waiter(3, 3, "", 30), Waiter(1, 1, "", 10), Waiter(2, 2, "", 20)) == [1, 2, 3]


def test_one_user_who_asks_for_many_is_served_between_the_others() -> None:
    """Five sessions at once do not keep two users who come a moment later waiting for all five."""
    many = [Waiter(number, 1, "a", 0) for number in range(5)]
    assert ids(*many, Waiter(8, 8, "b", 60), Waiter(9, 9, "b", 61)) == [0, 8, 9, 1, 2, 3, 4]


def test_a_group_that_holds_much_lets_another_go_first_in_proportion_to_its_share() -> None:
    """Ten machines held weigh against a group; with ten times the share they weigh as one."""
    full = Holding(groups={"a": 10})
    early, late = Waiter(1, 1, "a", 0), Waiter(2, 2, "b", 600)
    assert ids(early, late, holding=full) == [2, 1]
    assert ids(early, late, holding=full, shares=Shares({"a": 10}, 5)) == [1, 2]


def test_who_waits_for_a_rare_machine_is_not_set_back_for_a_common_one() -> None:
    """Each line is fair for itself."""
    rare = [Waiter(number, 1, "a", 0, "rare") for number in range(5)]
    served = ids(*rare, Waiter(8, 1, "a", 10, "common"), Waiter(9, 2, "b", 20, "common"))
    assert served.index(8) < served.index(9)


def test_somebody_of_several_groups_is_served_as_of_the_one_with_the_greatest_share() -> None:
    """The first by name where they are equal."""
    assert by_share(["a", "c", "b"], Shares({"b": 2})) == ["b", "a", "c"]


@given(waiters, st.randoms())
def test_everybody_is_in_the_order_once_however_they_are_given(found: list[Waiter], chance: object) -> None:
    """Nobody is lost or doubled, and the order depends on who waits, not on how they are listed."""
    served = order(found, Holding({1: 3}, {"a": 2}), SHARES)
    assert sorted(waiter.id for waiter in served) == sorted(waiter.id for waiter in found)
    mixed = list(found)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert order(mixed, Holding({1: 3}, {"a": 2}), SHARES) == served


@settings(max_examples=40, deadline=None)
@given(
    held=st.integers(0, 6),
    own=st.integers(0, 3),
    share=st.sampled_from([0.5, 1.0, 4.0]),
    before=st.integers(0, 10),
    rate=st.integers(1, 3),
)
def test_nobody_starves_however_many_come_later(held: int, own: int, share: float, before: int, rate: int) -> None:
    """One machine a minute and `rate` newcomers a minute, each of a group and user who hold nothing: who asked before
    them is served before all who ask later than what their group and they hold counts for."""
    shares = Shares({"a": share}, minutes=2)
    victim = Waiter(0, 1, "a", 0)
    waiting = [victim, *(Waiter(n, 100 + n, f"g{n}", 0) for n in range(1, before + 1))]
    overtaking = before + rate * (2 * (held / share + own) + 1)
    for minute in range(1, int(overtaking) + 2):
        served = order(waiting, Holding({1: own}, {"a": held}), shares)[0]
        if served is victim:
            return
        waiting.remove(served)
        newcomers = range(1000 + minute * rate, 1000 + (minute + 1) * rate)
        waiting += [Waiter(n, n, f"g{n}", 60 * minute) for n in newcomers]
    raise AssertionError(f"not served in {overtaking:.0f} minutes")


def _slowly(waiting: list[Waiter], holding: Holding, shares: Shares) -> list[int]:
    """The same for one line, as the rule is written: again and again, whoever's moment is the earliest."""
    users, groups, left, served = Counter(holding.users), Counter(holding.groups), list(waiting), []
    while left:

        def moment(one: Waiter) -> tuple[float, float, int]:
            held = groups[one.group] / shares.of(one.group) + users[one.user]
            return one.asked + 60 * shares.minutes * held, one.asked, one.id

        chosen = min(left, key=moment)
        left.remove(chosen)
        served.append(chosen.id)
        users[chosen.user] += 1
        groups[chosen.group] += 1
    return served


whole = waiters.map(lambda found: [replace(one, asked=float(int(one.asked)), line="p") for one in found])


@given(whole, st.sampled_from([Shares(minutes=5), Shares({"a": 2.0, "b": 0.5}, 1)]))
def test_the_next_one_is_always_whoever_has_the_earliest_moment(found: list[Waiter], shares: Shares) -> None:
    """Counted with all who went before."""
    holding = Holding({1: 3}, {"a": 2})
    assert [one.id for one in order(found, holding, shares)] == _slowly(found, holding, shares)


def test_a_flood_is_put_in_order_at_once() -> None:
    """Each page of each who waits asks for it: of thousands who came in the same minute, too."""
    flood = [Waiter(number, number, "a" if number % 2 else "b", number % 60) for number in range(4000)]
    began = time.process_time()
    assert len(order(flood, Holding(), SHARES)) == 4000
    assert time.process_time() - began < 1
