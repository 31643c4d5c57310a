"""Leases, quotas and queues: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.errors import LeaseTooLong, OverQuota


@dataclass(frozen=True)
class Quota:
    """One limit and how much of it is used, by what; `needed` more are asked for. `whose` is "" for one's own."""

    name: str  # as in the settings: "limits.sessions_per_user"
    limit: int
    used: int
    needed: int = 1
    unit: str = "sessions"
    whose: str = ""
    by: Mapping[str, int] = field(default_factory=dict)

    @property
    def exceeded(self) -> bool:
        """Whether what is needed does not fit."""
        return self.needed > 0 and self.used + self.needed > self.limit


def must_have_room(quotas: Iterable[Quota]) -> None:
    """Raise OverQuota for the first quota that has no room for what is needed."""
    for quota in quotas:
        if quota.exceeded:
            raise over(quota)


def over(quota: Quota) -> OverQuota:
    """The error that says which quota has no room, how much of it is used, and by what."""
    return OverQuota(
        _over(quota),
        hint="Wish for less, wait until one of these ends, or ask an administrator."
        if quota.whose
        else "End one that you no longer need, then launch again.",
        quota=quota.name,
        limit=quota.limit,
        used=quota.used,
        needed=quota.needed,
        by=dict(quota.by),
    )


def _over(quota: Quota) -> str:
    used = ", ".join(f"{name} {number}" for name, number in sorted(quota.by.items()))
    whose, have, may = ("You", "have", "you") if not quota.whose else (quota.whose, "has", "it")
    more = f"; {quota.needed} more are needed" if quota.needed > 1 else ""
    return (
        f"{whose} {have} {quota.used} of {quota.limit} {quota.unit} that {may} may have at a time"
        f"{f' ({used})' if used else ''}{more}."
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
