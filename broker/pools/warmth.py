"""Who gets the warm machines of a base? Pure: from the pools that are short to the machines that they are lent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a machine of a base can become: an environment's of that base, in its size and cloud."""

    base: str
    size: str
    cloud: str


@dataclass(frozen=True)
class Need:
    """A pool that would build `short` machines; `waiting` sessions wait for one, and it has `vacant` of its own."""

    pool: str
    kind: Kind
    short: int
    waiting: int = 0
    vacant: int = 0


@dataclass(frozen=True)
class Shelf:
    """A pool of a base with its vacant machines."""

    pool: str
    kind: Kind
    vacant: int


@dataclass(frozen=True)
class Loan:
    """One machine of the pool `shelf` becomes one of `pool`."""

    shelf: str
    pool: str
    reason: str


def share(needs: Sequence[Need], shelves: Sequence[Shelf]) -> list[Loan]:
    """Machine by machine: to a pool for which somebody waits before any other, then to the one with fewest vacant."""
    left, got, loans = {shelf.pool: shelf.vacant for shelf in shelves}, Counter[str](), list[Loan]()

    def stocked(need: Need) -> list[str]:
        return [shelf.pool for shelf in shelves if shelf.kind == need.kind and left[shelf.pool] > 0]

    while wanting := [need for need in needs if got[need.pool] < need.short and stocked(need)]:
        need = min(wanting, key=lambda each: (got[each.pool] >= each.waiting, each.vacant + got[each.pool], each.pool))
        shelf = max(stocked(need), key=lambda pool: left[pool])
        why = "a session waits" if got[need.pool] < need.waiting else f"{need.pool} is short"
        loans.append(Loan(shelf, need.pool, f"specialised from {shelf}: {why}"))
        left[shelf] -= 1
        got[need.pool] += 1
    return loans
