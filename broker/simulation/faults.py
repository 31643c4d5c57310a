"""What goes wrong in a simulated day."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A cloud misbehaves from `start` to `end` (Unix seconds).

    `away`: it makes no machine. Otherwise builds take `slower` times as long, and this share of them is `broken`.
    """

    cloud: str
    start: float
    end: float
    away: bool = False
    slower: float = 1.0
    broken: float = 0.0

    @property
    def title(self) -> str:
        """What is wrong, in a few words."""
        if self.away:
            return f"{self.cloud} is away"
        parts = [f"builds take {self.slower:g} times as long"] if self.slower != 1 else []
        parts += [f"{self.broken:.0%} of builds fail"] if self.broken else []
        return f"{self.cloud}: {', '.join(parts)}"


@dataclass(frozen=True)
class Weather:
    """How a cloud is at one moment. `back_at` is when one that is away answers again."""

    back_at: float | None = None
    slower: float = 1.0
    broken: float = 0.0


def weather(faults: Sequence[Fault], moment: float) -> Weather:
    """What these faults of one cloud make of it now."""
    now = [fault for fault in faults if fault.start <= moment < fault.end]
    ends = [fault.end for fault in now if fault.away]
    slower, broken = 1.0, 0.0
    for fault in now:
        slower *= fault.slower
        broken = 1 - (1 - broken) * (1 - fault.broken)
    return Weather(max(ends, default=None), slower, broken)


def bad_day(clouds: Sequence[str], start: float, draw: random.Random) -> tuple[Fault, ...]:
    """An outage of one cloud at mid-morning, slow builds of another, and builds that fail on a third (or the same)."""
    picked = [draw.choice(clouds) for _ in range(3)] if len(clouds) < 3 else draw.sample(list(clouds), 3)
    hour = 3600.0
    return (
        Fault(picked[0], start + 10 * hour, start + 11 * hour, away=True),
        Fault(picked[1], start + 13 * hour, start + 15 * hour, slower=3),
        Fault(picked[2], start + 15 * hour, start + 18 * hour, broken=0.3),
    )
