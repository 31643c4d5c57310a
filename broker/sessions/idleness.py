"""When is a session idle, and what follows? Pure decisions.

The machine itself says for how long there was no input and no load (agents/machine/activity.py). A machine that does
not answer, or does not know, is never idle: then nothing is decided. No session ends without a warning that was given
`warning` before, and any use withdraws the warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from agents.protocol import StatusAnswer
from broker.pools.reserving import clock

WORK_GAP = timedelta(minutes=10)  # between two steps of one job
NOTICED_AFTER = timedelta(minutes=5)  # who reads for less than this is shown as using it
LONGEST = 64  # letters of a sign or of work that are kept
STALE = timedelta(minutes=5)  # older words of a machine say nothing


class Use(StrEnum):
    """What a ready session is doing, for people and figures."""

    WORKING = "working"  # load of the user's processes, whoever looks on
    IN_USE = "in-use"  # input not long ago
    IDLE = "idle"  # neither
    UNKNOWN = "unknown"  # its machine was not heard of late


@dataclass(frozen=True)
class IdleRule:
    """After how long without use a session ends, and how long before it is warned of."""

    after: timedelta
    warning: timedelta


@dataclass(frozen=True)
class Activity:
    """What is known of a session's use. `work` is empty where nothing runs; `kept_at` is set while the user wants it
    kept until the work ends: the last moment at which work was seen, or the wish itself."""

    last_active_at: datetime
    sign: str = ""
    work: str = ""
    heard_at: datetime | None = None
    warned_at: datetime | None = None
    kept_at: datetime | None = None


@dataclass(frozen=True)
class Warn:
    """Tell the user that the session ends at `ends_at`."""

    ends_at: datetime


@dataclass(frozen=True)
class Withdraw:
    """The warning does not hold any more."""


@dataclass(frozen=True)
class End:
    """End the session; `reason` is for its user."""

    reason: str


def heard(before: Activity, answer: StatusAnswer, moment: datetime, *, batch_jobs: int = 0) -> Activity | None:
    """What is known after the machine's answer at `moment`; None where it does not know.

    `batch_jobs` is how many jobs of this user run on batch systems just now; each counts as work.
    """
    if answer.idle_seconds is None:
        return None
    work = ", ".join([*answer.work, *([f"{batch_jobs} batch jobs"] if batch_jobs else [])])[:LONGEST]
    active_at = moment if work else moment - timedelta(seconds=answer.idle_seconds)
    if active_at > before.last_active_at:
        known = replace(before, last_active_at=active_at, sign=work or answer.sign[:LONGEST])
    else:
        known = before
    return replace(known, work=work, heard_at=moment, kept_at=_kept(before, work, moment))


def _kept(before: Activity, work: str, moment: datetime) -> datetime | None:
    if before.kept_at is None or work:
        return before.kept_at and moment
    return before.kept_at if moment - before.kept_at < WORK_GAP else None


def idle_due(known: Activity, rule: IdleRule | None, moment: datetime) -> Warn | Withdraw | End | None:
    """What is to be done about the idleness of a session of which this was just heard."""
    if rule is None or known.kept_at or moment < known.last_active_at + rule.after - rule.warning:
        return Withdraw() if known.warned_at else None
    if known.warned_at is None:
        return Warn(ends_at(known, rule, moment))
    if moment >= ends_at(known, rule, moment):
        idle, last = length(moment - known.last_active_at), clock(known.last_active_at.timestamp(), moment.timestamp())
        return End(f"idle for {idle}; its last activity was {known.sign or 'its start'} at {last}")
    return None


def ends_at(known: Activity, rule: IdleRule, moment: datetime) -> datetime:
    """When the session ends if nobody and nothing uses it from now on; always a whole warning after the warning."""
    warned_at = known.warned_at or max(moment, known.last_active_at + rule.after - rule.warning)
    return max(known.last_active_at + rule.after, warned_at + rule.warning)


def use(known: Activity, moment: datetime) -> Use:
    """In a word."""
    if known.heard_at is None or moment - known.heard_at > STALE:
        return Use.UNKNOWN
    if known.work:
        return Use.WORKING
    return Use.IN_USE if moment - known.last_active_at < NOTICED_AFTER else Use.IDLE


def length(time: timedelta) -> str:
    """A length of time in words: "45 min", "2 h", "1 h 30 min"."""
    hours, minutes = divmod(round(time.total_seconds() / 60), 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])
