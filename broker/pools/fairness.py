"""Who is next? Pure: the order in which those who wait are served, fair to groups and to users.

Everybody waits from the moment of asking; each machine that one's group holds already (divided by the group's share),
and each that one holds oneself, counts as having asked `minutes` later. So a group with many machines lets others go
first, a user who asks for ten at once is served between others, and nobody starves: who asks later than that cannot
overtake. It is weighted fair queueing in virtual time, with machines held as the service received.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from operator import itemgetter


@dataclass(frozen=True)
class Waiter:
    """A session that waits. `asked` is in seconds; `line` is the pool that it waits for; "" is no group."""

    id: int
    user: int
    group: str
    asked: float
    line: str = ""


@dataclass(frozen=True)
class Holding:
    """Machines that are held now, by user and by group."""

    users: Mapping[int, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Shares:
    """What groups are entitled to, in proportion; 1 where nothing is said. `minutes` of waiting outweigh a machine."""

    groups: Mapping[str, float] = field(default_factory=dict)
    minutes: float = 5.0

    def of(self, group: str) -> float:
        """The group's share."""
        return self.groups.get(group, 1.0)


def by_share(groups: Iterable[str], shares: Shares) -> list[str]:
    """The groups that somebody may be served as: the one with the greatest share first, then by name."""
    return sorted(groups, key=lambda group: (-shares.of(group), group))


def order(waiting: Iterable[Waiter], holding: Holding, shares: Shares) -> list[Waiter]:
    """Those who wait, the next one first.

    Each line is gone through as if machines came one by one: who would have got one counts it already. Lines do not
    hold each other up: who waits long for a rare machine is not set back for a common one.
    """
    lines: defaultdict[str, list[Waiter]] = defaultdict(list)
    for waiter in waiting:
        lines[waiter.line].append(waiter)
    merged = [entry for line in lines.values() for entry in _in_line(line, holding, shares)]
    return [waiter for *_, waiter in sorted(merged, key=itemgetter(0, 1, 2))]


_Entry = tuple[float, float, int, Waiter]


def _in_line(line: Iterable[Waiter], holding: Holding, shares: Shares) -> list[_Entry]:
    """The line in order, with each one's moment in virtual time.

    Each group has a heap of its own, so that one more machine of a group moves its first one only. Moments only grow,
    so heaps may hold old ones.
    """
    users, groups, step = Counter(holding.users), Counter(holding.groups), 60 * shares.minutes
    of_group: defaultdict[str, list[_Entry]] = defaultdict(list)
    for waiter in line:
        of_group[waiter.group].append((waiter.asked + step * users[waiter.user], waiter.asked, waiter.id, waiter))
    for heap in of_group.values():
        heapify(heap)

    def first(group: str) -> _Entry:
        heap = of_group[group]
        while (own := heap[0][1] + step * users[heap[0][3].user]) > heap[0][0]:
            heapreplace(heap, (own, *heap[0][1:]))
        return (heap[0][0] + step * groups[group] / shares.of(group), *heap[0][1:])

    firsts = [first(group) for group in of_group]
    heapify(firsts)
    served: list[_Entry] = []
    while firsts:
        group = firsts[0][3].group
        current = first(group)
        if current > firsts[0]:
            heapreplace(firsts, current)
            continue
        heappop(firsts)
        heappop(of_group[group])
        served.append(current)
        users[current[3].user] += 1
        groups[group] += 1
        if of_group[group]:
            heappush(firsts, first(group))
    return served
