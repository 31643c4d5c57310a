"""Handovers, as they cross the edge."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import StringConstraints

from web.api.schemas import Given, Taken, Text


class HandoverBody(Taken):
    """To whom, by account name; `reason` only where an administrator does it, for its owner to read."""

    user: Text
    reason: Annotated[str, StringConstraints(max_length=300, strip_whitespace=True, pattern=r"^[^\x00-\x1f]*$")] = ""


class HandoverAnswerBody(Taken):
    """The receiver's answer."""

    answer: Literal["accepted", "refused"]


class HandoverOut(Given):
    """A session that is, or was, offered to somebody; `made_by` is an administrator, if one offered it.

    `terms` are what the receiver agrees to by accepting.
    """

    id: int
    session: int
    title: str
    giver: str
    giver_name: str
    receiver: str
    receiver_name: str
    made_by: str | None
    reason: str
    offered_at: datetime
    expires_at: datetime
    seconds_left: float
    state: Literal["open", "accepted", "refused", "withdrawn", "over"]
    answered_at: datetime | None
    terms: list[str]
