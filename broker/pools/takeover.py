"""Which pools stand in for those whose cloud is away? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One pool: whether its cloud is in service, how many vacant machines it lacks, how many more it could keep.

    `size` is its GPUs, cores and GB of memory. Its machines are for people of `groups`; for all, where it names none.
    """

    pool: str
    environment: str
    size: tuple[int, int, float]
    serving: bool
    missing: int
    room: int
    architecture: str = ""
    gpu_model: str = ""
    groups: tuple[str, ...] = ()


def taken_over(shares: Sequence[Share]) -> dict[str, int]:
    """How many vacant machines more each serving pool keeps in place of others of its environment.

    The smallest pool that fits comes first.
    """
    given: Counter[str] = Counter()
    standing_in = sorted((share for share in shares if share.serving), key=lambda share: share.size)
    for lost in shares:
        left = 0 if lost.serving else lost.missing
        for pool in standing_in:
            if _fits(pool, lost):
                taken = max(0, min(left, pool.room - given[pool.pool]))
                given[pool.pool] += taken
                left -= taken
    return {pool: number for pool, number in given.items() if number}


def _fits(pool: Share, lost: Share) -> bool:
    """Whether those who would use the lost pool may use this one, and find as much of everything, of the same kind."""
    same = (pool.environment, pool.architecture) == (lost.environment, lost.architecture)
    same_gpus = not lost.size[0] or pool.gpu_model == lost.gpu_model
    open_to_them = not pool.groups or (bool(lost.groups) and set(lost.groups) <= set(pool.groups))
    enough = all(have >= need for have, need in zip(pool.size, lost.size, strict=True))
    return same and same_gpus and open_to_them and enough
