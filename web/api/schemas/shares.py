"""Shares, as they cross the edge."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from broker.connections.models import ShareKind
from broker.sharing.models import Answer
from web.api.schemas import Given, Taken, Text
from web.api.schemas.sessions import PolicyOut


class ShareBody(Taken):
    """With whom (a user's name, or anybody who has the link that is then made), how, and for how long."""

    user: Text | None = None
    control: bool = False
    hours: Annotated[float, Field(gt=0, le=24 * 7)] = 4


class GuestOut(Given):
    """One share of my desktop; `user` is null for a link. `here_since` while the guest has it open."""

    id: int
    kind: ShareKind
    user: str | None
    full_name: str | None
    control: bool
    reason: str
    created_at: datetime
    expires_at: datetime
    here_since: datetime | None


class ShareMadeOut(Given):
    """A share that was just made, with its link, if it is one, which is told only now."""

    share: GuestOut
    link: str | None


class JoinLinkBody(Taken):
    """The secret at the end of a link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class SharedOut(Given):
    """A desktop that is shared with me. `over` says why it cannot be opened any more; `policy` holds with control."""

    id: int
    kind: ShareKind
    title: str
    owner: str
    control: bool
    expires_at: datetime
    seconds_left: float
    over: str | None
    policy: PolicyOut
    not_allowed: list[str]


Reason = Annotated[
    str, StringConstraints(min_length=3, max_length=300, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$")
]


class RecordingOut(Given):
    """One recorded window of support's; `size` in bytes."""

    id: int
    session: int
    full_name: str
    kind: ShareKind
    control: bool
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    size: int


class JoinRequestBody(Taken):
    """Why; the owner reads it."""

    reason: Reason


class BreakGlassBody(Taken):
    """Why nobody can be asked, and whether it is to do more than look."""

    reason: Reason
    control: bool = False


class AnswerBody(Taken):
    """The owner's answer."""

    answer: Literal["look", "control", "refused"]


class JoinRequestOut(Given):
    """A question whether somebody may join a session; `share` is what was given, where it was allowed."""

    id: int
    session: int
    title: str
    user: str
    full_name: str
    reason: str
    asked_at: datetime
    expires_at: datetime
    answer: Answer | None
    share: int | None
