"""How long, with how many, and in which words: pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from broker.errors import Forbidden, InvalidRequest, OverQuota

MOST = 20  # people and links of one session at a time
LONGEST = timedelta(days=7)
QUESTION_LASTS = timedelta(minutes=10)  # for which support's question waits for the owner's answer
SUPPORT_LASTS = timedelta(hours=1)
OFFER_LASTS = timedelta(minutes=15)  # for which a session that is handed over waits to be accepted


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


def terms(*, giver: str, account: str, group: str, not_allowed: Sequence[str]) -> list[str]:
    """What somebody who is offered a session is told before accepting it. `giver` and `account` are full names."""
    return [
        "From then on the desktop is yours: it counts for you, and you alone open, share, extend and end it.",
        f"It goes on as it is, under the account of {account}: its programs run, and its files are, in that name.",
        f"What you save there is saved in the home of {account}, who can read it elsewhere. Bring your results to a "
        f"place that {group} shares, or download them.",
        f"Programs that {giver} left in it go on, and might see what you type. Type no password and bring no key there "
        f"that {giver} should not have.",
        f"{giver} can open it no longer, and who was let in as a guest is out; you can let them in again.",
        *not_allowed,
    ]


def must_be_member(person: str, group: str, groups: Collection[str]) -> None:
    """Raise Forbidden unless somebody of these groups may be handed a session that counts for `group`."""
    if not group:
        raise Forbidden(
            "This session counts for no group, so there is nobody to hand it over to.",
            hint="Share it instead.",
        )
    if group not in groups:
        raise Forbidden(
            f"{person} is not a member of {group}, for which this session counts.",
            hint="Name a member of that group, or share the desktop instead.",
        )
