"""Which pools stand in for those whose cloud is away? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One pool: whether its cloud is in service, how many vacant machines it lacks, how many more it could keep.

    `size` is its GPUs, cores and GB of memory.
    """

    pool: str
    environment: str
    size: tuple[int, int, float]
    serving: bool
    missing: int
    room: int


def taken_over(shares: Sequence[Share]) -> dict[str, int]:
    """How many vacant machines more each serving pool keeps in place of others of its environment.

    Only a machine with at least as much of everything stands in for another; the smallest such pool comes first.
    """
    given: Counter[str] = Counter()
    standing_in = sorted((share for share in shares if share.serving), key=lambda share: share.size)
    for lost in shares:
        left = 0 if lost.serving else lost.missing
        for pool in standing_in:
            fits = all(have >= need for have, need in zip(pool.size, lost.size, strict=True))
            if pool.environment == lost.environment and fits:
                taken = max(0, min(left, pool.room - given[pool.pool]))
                given[pool.pool] += taken
                left -= taken
    return {pool: number for pool, number in given.items() if number}
