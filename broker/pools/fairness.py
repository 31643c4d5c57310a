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
from heapq import heapify, heappop, heappush
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
    """The line in order, with each one's moment in virtual time. Moments only grow, so the heap may hold old ones."""
    users, groups = Counter(holding.users), Counter(holding.groups)

    def entry(waiter: Waiter) -> _Entry:
        held = groups[waiter.group] / shares.of(waiter.group) + users[waiter.user]
        return waiter.asked + 60 * shares.minutes * held, waiter.asked, waiter.id, waiter

    heap = [entry(waiter) for waiter in line]
    heapify(heap)
    served: list[_Entry] = []
    while heap:
        oldest = heappop(heap)
        current = entry(oldest[3])
        if current > oldest:
            heappush(heap, current)
            continue
        served.append(current)
        users[current[3].user] += 1
        groups[current[3].group] += 1
    return served
