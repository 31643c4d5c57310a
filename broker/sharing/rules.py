"""How long, with how many, and in which words: pure decisions."""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.errors import InvalidRequest, OverQuota

MOST = 20  # people and links of one session at a time
LONGEST = timedelta(days=7)
QUESTION_LASTS = timedelta(minutes=10)  # for which support's question waits for the owner's answer
SUPPORT_LASTS = timedelta(hours=1)


def end_of(lasts: timedelta, moment: datetime, lease_end: datetime | None) -> datetime:
    """When a share ends that is made at `moment`: never after the session's lease."""
    if not timedelta() < lasts <= LONGEST:
        raise InvalidRequest("A desktop cannot be shared for so long.", hint=f"Give at most {LONGEST.days} days.")
    return min(moment + lasts, lease_end or moment + lasts)


def must_have_room(number: int) -> None:
    """Raise OverQuota where a session is shared with so many already."""
    if number >= MOST:
        raise OverQuota(
            f"This desktop is shared with {number} people and links already.",
            hint="Withdraw one of them first.",
            limit=MOST,
            used=number,
        )


def why_over(*, withdrawn: bool, by_guest: bool, session_ready: bool, owner: str) -> str:
    """Why a guest cannot open the desktop any more."""
    if not session_ready:
        return f"{owner} has ended the desktop, or its time is over."
    if withdrawn:
        return "You have left it." if by_guest else f"{owner} shares it with you no longer."
    return f"{owner} shared it for a time, which is over."
