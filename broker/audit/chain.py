"""How rows are chained: each seal's hash is over the hash before it and the row, so no row can be changed, taken out or
put in between without all hashes after it being others."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from broker.errors import InvalidRequest
from broker.events import Event

COLUMNS = (
    Event.id,
    Event.at,
    Event.actor,
    Event.client,
    Event.via,
    Event.action,
    Event.kind,
    Event.subject,
    Event.detail,
)
_NAMES = tuple(column.key for column in COLUMNS)
_FORM = re.compile(r"([1-9]\d{0,9}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Head:
    """The last seal of a chain: its number and its hash. An operator may keep one elsewhere."""

    seq: int = 0
    hash: str = "0" * 64

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


def head_of(text: str) -> Head:
    """The head that is written as SEQ:HASH, or InvalidRequest."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidRequest(
            f"{text[:90]!r} is no head of the audit log.",
            hint="It is a number, a colon and 64 hexadecimal digits, as `beamdesk audit verify` prints it.",
        )
    return Head(int(found[1]), found[2])


def facts(row: Sequence[Any]) -> dict[str, Any]:
    """The row that COLUMNS selected, as JSON has it: the moment is ISO 8601 in UTC, to the microsecond."""
    values = dict(zip(_NAMES, row, strict=True))
    values["at"] = values["at"].astimezone(UTC).isoformat(timespec="microseconds")
    return values


def link(before: str, row: dict[str, Any]) -> str:
    """The hash that seals the row (its facts) after the seal whose hash is `before`."""
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
