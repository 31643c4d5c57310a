"""When is a cloud asked again? A circuit breaker for each cloud, and pauses that grow.

The breaker is `closed` while the cloud answers. A fault makes all wait before they ask again; some in a row open it:
the cloud counts as away, and other clouds take over. When the pause is over it is half open: one list, by the manager,
finds out whether the cloud is back (M. Nygard, Release It!, "Circuit Breaker").
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from enum import StrEnum

from broker.database import now
from broker.settings import PoolTimes

LONGEST_WISH = 3600.0  # seconds: a cloud that says “ask again in a year” is asked earlier


class Breaker(StrEnum):
    """How the broker treats a cloud."""

    CLOSED = "closed"  # asked for everything
    OPEN = "open"  # asked for nothing
    HALF_OPEN = "half-open"  # asked for one list


def breaker(faults: int, retry_at: datetime | None, moment: datetime, *, away_after: int) -> Breaker:
    """The state after so many faults in a row, of which `away_after` open it."""
    if faults < away_after:
        return Breaker.CLOSED
    return Breaker.OPEN if retry_at is not None and retry_at > moment else Breaker.HALF_OPEN


def pause(tries: int, *, first: float, longest: float, draw: float, wished: float | None = None) -> float:
    """Seconds before the next try after so many in vain; `draw` is a random number from 0 to 1.

    It doubles each time, and half of it is left to chance, so that those who failed together do not come back together
    (M. Brooker, "Exponential Backoff And Jitter", 2015: equal jitter). What the cloud itself wishes (Retry-After)
    counts where it is longer.
    """
    doubled = min(longest, first * 2 ** max(0, min(tries, 30) - 1)) if tries else 0.0
    return max(doubled * (1 + draw) / 2, min(wished or 0.0, LONGEST_WISH))


def again_at(times: PoolTimes, tries: int, wished: float | None = None) -> datetime:
    """The moment of the next try."""
    seconds = pause(tries, first=times.retry_first, longest=times.retry_longest, draw=random.random(), wished=wished)
    return now() + timedelta(seconds=seconds)
