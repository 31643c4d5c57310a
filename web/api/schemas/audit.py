"""What crosses the edge of the audit log."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field

from web.api.schemas import Asked, Given, Id, Text

_ISO = re.compile(r"2[01]\d\d-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(value: object) -> object:
    """A number of seconds is a moment too, in pydantic's eyes."""
    if isinstance(value, str) and not _ISO.match(value):
        raise ValueError("give a moment as 2026-11-21T18:00:00Z, in the years 2000 to 2199")
    return value


When = Annotated[AwareDatetime, BeforeValidator(_written_out)]


class WantedQuery(Asked):
    """Which rows: `action` is one as `session:ready`, or a kind as `session`; `client` an address, or the
    beginning of some where it ends with `.` or `:`."""

    actor: Text | None = None
    action: Text | None = None
    subject: Text | None = None
    client: Text | None = None
    since: When | None = None
    until: When | None = None


class AuditQuery(WantedQuery):
    """A page of them; `before` is the last id of the page before."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Id | None = None


class LineOut(Given):
    """One row. `client` is where it came from, `via` the sign-in, token or command; `seal` its number in the chain."""

    id: int
    at: datetime
    actor: str
    client: str | None
    via: str | None
    action: str
    kind: str
    subject: str
    detail: dict[str, object]
    seal: int | None
    hash: str | None


class HeadOut(Given):
    """The end of the chain."""

    seq: int
    hash: str


class StandingOut(Given):
    """The chain as it stands; `verified` is the row of the last look through it."""

    head: HeadOut
    rows: int
    waiting: int
    verified: LineOut | None


class FindingOut(Given):
    """Something that is wrong: changed, missing, inserted or unsealed."""

    what: str
    said: str


class ReportOut(Given):
    """What a look through the whole chain found: the first findings, and how many there are."""

    good: bool
    head: HeadOut
    waiting: int
    found: int
    findings: list[FindingOut]
    notes: list[str]
