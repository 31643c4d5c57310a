"""Whether the audit log is what was sealed: the chain is computed anew from its beginning, a batch at a time.

What a chain can show and what it cannot: docs/security.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from broker.audit.chain import COLUMNS, Head, facts, link
from broker.database import Database, now
from broker.events import Event, Seal, Unsealed

BATCH = 2000
TOLD = 20  # findings, of any number
PATIENCE = timedelta(minutes=1)  # from a row's writing to its seal
LATE = timedelta(minutes=10)  # that a row may be dated before those sealed ahead of it

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: `what` is changed, missing, inserted, unsealed or rewritten."""

    what: str
    said: str


@dataclass
class Report:
    """What was found. `head` may be kept elsewhere, and given to a later look."""

    head: Head = field(default_factory=Head)
    waiting: int = 0  # rows without a seal that are not late yet
    found: int = 0  # all findings; the first of them are told
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # odd, and not wrong

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.found == 0

    @property
    def first(self) -> str:
        """The first thing that is wrong, in words."""
        return f"{self.findings[0].what}: {self.findings[0].said}" if self.findings else ""

    def add(self, what: str, said: str, number: int = 1) -> None:
        """Something is wrong, with so many rows."""
        self.found += number
        if len(self.findings) < TOLD:
            self.findings.append(Finding(what, said))


def verify(database: Database, *, known: Head | None = None, progress: Progress = lambda done, of: None) -> Report:
    """Look through the whole log. `known` is a head of an earlier look, which must be in the chain as it was."""
    report = Report()
    walk = _Walk(report, known)
    with database.reading() as db:
        of = db.scalar(select(func.count()).select_from(Seal)) or 0
    after: int | None = None
    while batch := _batch(database, after):
        for row in batch:
            walk.step(row[0], row[1], row[2], row[3:])
        after = batch[-1][0]
        progress(walk.done, of)
    walk.end()
    _look_beside(database, report)
    return report


def _batch(database: Database, after: int | None) -> Sequence[Any]:
    seals = select(Seal.seq, Seal.event_id, Seal.hash, *COLUMNS).outerjoin(Event, Event.id == Seal.event_id)
    further = seals if after is None else seals.where(Seal.seq > after)
    with database.reading() as db:
        return db.execute(further.order_by(Seal.seq).limit(BATCH)).all()


class _Walk:
    """Along the seals. After one that is wrong it goes on with the hash that stands there."""

    def __init__(self, report: Report, known: Head | None) -> None:
        self._report, self._known = report, known
        self._newest: datetime | None = None
        self.done = 0

    def step(self, seq: int, event_id: int, hash_: str, row: Sequence[Any]) -> None:
        report = self._report
        if seq != report.head.seq + 1:
            report.add("missing", f"between the seals no. {report.head.seq} and no. {seq} something is gone.")
        if row[0] is None:
            report.add("missing", f"row {event_id}, sealed as no. {seq}, is gone.")
        elif link(report.head.hash, facts(row)) != hash_:
            report.add(
                "changed", f"row {event_id}, sealed as no. {seq}, is not what was sealed, or not after what it stood."
            )
        else:
            self._compare_dates(row)
        if self._known is not None and seq == self._known.seq and hash_ != self._known.hash:
            report.add("rewritten", f"seal no. {seq} is {hash_}, not the one that you know: the log was made anew.")
        report.head = Head(seq, hash_)
        self.done += 1

    def end(self) -> None:
        if self._known is not None and self._report.head.seq < self._known.seq:
            self._report.add(
                "missing",
                f"the chain ends at no. {self._report.head.seq}; you know of no. {self._known.seq}: it was cut off.",
            )

    def _compare_dates(self, row: Sequence[Any]) -> None:
        id_, at = row[0], row[1]
        if self._newest is not None and at < self._newest - LATE and len(self._report.notes) < TOLD:
            by = timedelta(seconds=round((self._newest - at).total_seconds()))
            why = "a clock was behind, or it was written in later"
            self._report.notes.append(f"row {id_} is dated {by} before one that was sealed ahead of it: {why}.")
        self._newest = at if self._newest is None else max(at, self._newest)


def _look_beside(database: Database, report: Report) -> None:
    """Rows without a seal: those that wait, that wait too long, and that never came the log's own way."""
    rows = select(Event.id, Unsealed.since).outerjoin(Seal, Seal.event_id == Event.id)
    loose = rows.outerjoin(Unsealed, Unsealed.event_id == Event.id).where(Seal.seq.is_(None)).subquery()
    strange, overdue = loose.c.since.is_(None), loose.c.since < now() - PATIENCE
    lost = select(Unsealed.event_id).outerjoin(Event, Event.id == Unsealed.event_id).where(Event.id.is_(None))
    number = func.count()
    counts = select(
        number, number.filter(strange), number.filter(overdue), func.min(loose.c.id).filter(overdue)
    ).select_from(loose)
    with database.reading() as db:
        every, strangers, late, first = db.execute(counts).one()
        named = (
            db.scalars(select(loose.c.id).where(strange).order_by(loose.c.id).limit(TOLD)).all() if strangers else []
        )
        gone = db.scalars(lost.order_by(Unsealed.event_id).limit(TOLD)).all()
    for event_id in gone:
        report.add("missing", f"row {event_id} was written, and is gone before it was sealed.")
    for event_id in named:
        report.add(
            "inserted", f"row {event_id} has no seal and waits for none: it was put in by hand, or its seal cut."
        )
    report.found += strangers - len(named)
    if late:
        waits = f"{late} rows, the first is row {first}, have" if late > 1 else f"row {first} has"
        report.add("unsealed", f"{waits} waited for a seal for longer than a minute: does a manager run?", late)
    report.waiting = every - strangers - late
