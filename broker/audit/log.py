"""Searching the audit log, a page or a stream at a time, each row with its seal; and what the last look at it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from broker import events
from broker.audit import sealing
from broker.audit.chain import COLUMNS, Head, facts
from broker.audit.verify import Report
from broker.database import Database
from broker.events import Event, Seal, Unsealed

BATCH = 1000
_ROWS = select(*COLUMNS, Seal.seq.label("seal"), Seal.hash).outerjoin(Seal, Seal.event_id == Event.id)
CHAIN = "chain"  # the subject of what is recorded of the log itself


@dataclass(frozen=True)
class Wanted:
    """Which rows. `action` is one as `session:ready`, or all of a kind as `session`; `client` an address, or all that
    begin with it where it ends with "." or ":"."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    client: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def rules(self) -> Iterator[ColumnElement[bool]]:
        """As SQL has it."""
        if self.actor:
            yield Event.actor == self.actor
        if self.action:
            yield Event.kind == self.action.split(":")[0]
        if self.action and ":" in self.action:
            yield Event.action == self.action
        if self.subject:
            yield Event.subject == self.subject
        if self.client:
            yield _address(self.client)
        if self.since is not None:
            yield Event.at >= self.since
        if self.until is not None:
            yield Event.at < self.until


def _address(client: str) -> ColumnElement[bool]:
    if client.endswith((".", ":")):
        return Event.client.startswith(client, autoescape=True)
    return Event.client == client


@dataclass(frozen=True)
class Line:
    """One row of the log; `seal` is its number in the chain, once it has one."""

    id: int
    at: datetime
    actor: str
    client: str | None
    via: str | None
    action: str
    kind: str
    subject: str
    detail: dict[str, Any]
    seal: int | None
    hash: str | None


def page(db: Session, wanted: Wanted, *, limit: int, before: int | None = None) -> list[Line]:
    """The newest rows; `before` is the last id of the page before."""
    older = [Event.id < before] if before is not None else []
    rows = db.execute(_ROWS.where(*wanted.rules(), *older).order_by(Event.id.desc()).limit(limit))
    return [Line(*row) for row in rows]


def lines(database: Database, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """All rows up to now, the oldest first, as JSON has them. No transaction stays open between batches."""
    with database.reading() as db:
        last = db.scalar(select(func.max(Event.id))) or 0
    rows, after = _ROWS.where(*wanted.rules(), Event.id <= last).order_by(Event.id).limit(BATCH), 0
    while batch := _batch(database, rows.where(Event.id > after)):
        yield from batch
        after = batch[-1]["id"]


def _batch(database: Database, rows: Select[Any]) -> list[dict[str, Any]]:
    with database.reading() as db:
        return [{**facts(row[:-2]), "seal": row.seal, "hash": row.hash} for row in db.execute(rows)]


@dataclass(frozen=True)
class Standing:
    """How the chain stands. `waiting` rows have no seal yet; `verified` says who looked last, when and with which
    result."""

    head: Head
    rows: int
    waiting: int
    verified: Line | None


def standing(db: Session) -> Standing:
    """The chain now, as far as can be said without looking through it."""
    last = sealing.head(db)
    waiting = db.scalar(select(func.count()).select_from(Unsealed)) or 0
    looked = page(db, Wanted(action="audit:verify", subject=CHAIN), limit=1)
    return Standing(last, last.seq, waiting, looked[0] if looked else None)


def note_look(database: Database, report: Report, actor: str = events.SYSTEM) -> None:
    """Write down in the log itself that somebody looked through it, and what was found."""
    detail: dict[str, Any] = {"good": report.good, "seq": report.head.seq, "hash": report.head.hash}
    if not report.good:
        detail["first"] = report.first
    with database.transaction() as db:
        events.record(db, "audit:verify", CHAIN, actor=actor, **detail)


def note_export(database: Database, wanted: Wanted, actor: str = events.SYSTEM) -> None:
    """Write down who took a copy, and of what."""
    asked = {name: str(value) for name, value in vars(wanted).items() if value is not None}
    detail: dict[str, Any] = {"wanted": asked} if asked else {}
    with database.transaction() as db:
        events.record(db, "audit:export", CHAIN, actor=actor, **detail)
