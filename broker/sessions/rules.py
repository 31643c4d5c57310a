"""Leases, quotas and queues: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.errors import LeaseTooLong, OverQuota


def must_have_room(active: int, limit: int) -> None:
    """Raise OverQuota where a user with `active` sessions may not have one more."""
    if active >= limit:
        raise OverQuota(
            f"You have {active} of {limit} sessions that you may have at a time.",
            hint="End one that you no longer need, then launch again.",
        )


def extended(expires_at: datetime, started_at: datetime, hours: float, longest_hours: float) -> datetime:
    """The new end of a lease that is extended by `hours`, or LeaseTooLong, which says how much is left."""
    latest = started_at + timedelta(hours=longest_hours)
    wished = expires_at + timedelta(hours=hours)
    if wished > latest:
        left = max(0.0, (latest - expires_at).total_seconds() / 3600)
        raise LeaseTooLong(
            f"A session may last {longest_hours:g} hours in all; this one can be extended by {left:.1f} hours at most.",
            hint="Extend by less, or save your work and launch a new session.",
            hours_left=round(left, 2),
        )
    return wished


def warning_due(left: timedelta, warned_minutes: float | None, warn_minutes: Sequence[float]) -> float | None:
    """The warning to give now, in minutes before the end; None where none is due or it was given."""
    minutes = left.total_seconds() / 60
    due = min((m for m in warn_minutes if minutes <= m), default=None)
    return due if due is not None and (warned_minutes is None or due < warned_minutes) else None


@dataclass(frozen=True)
class Line:
    """What moves a queue: seconds until each machine on its way is ready, and until each running session ends."""

    coming: tuple[float, ...]
    expiries: tuple[float, ...]
    build_seconds: float | None
    may_grow: bool


def wait_estimate(place: int, line: Line) -> float | None:
    """Seconds until the session at `place` (1 is next) gets a machine; None where nothing is known to come.

    Machines on their way serve first; then each expiry frees room for one new machine, which is built first.
    A pool below its limit builds the missing ones at once.
    """
    arrivals = sorted(max(1.0, seconds) for seconds in line.coming)
    if line.build_seconds is not None:
        if line.may_grow:
            arrivals += [line.build_seconds] * max(0, place - len(arrivals))
        arrivals += sorted(max(0.0, seconds) + line.build_seconds for seconds in line.expiries)
    return arrivals[place - 1] if len(arrivals) >= place else None
