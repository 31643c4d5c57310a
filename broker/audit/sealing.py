"""Seals new rows of the audit log within about a second. The leading manager does it, beside its other work.

No launch waits for it: rows are written first and sealed afterwards. Two that seal at once take turns by a lock of the
database's, a batch is one transaction, and no clock is asked for the order: so nothing is sealed twice or left out,
whoever dies when.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Delete, Row, delete, insert, select
from sqlalchemy.orm import Session

from broker import metrics
from broker.audit.chain import COLUMNS, Head, facts, link
from broker.database import Database, hold
from broker.events import Event, Seal, Unsealed

EVERY = 1.0  # seconds
BATCH = 500  # rows; on SQLite no launch can be written meanwhile
PAUSE = 0.02  # seconds between batches, for those who wait to write


def keep_on(database: Database, stop: threading.Event, leads: Callable[[], bool]) -> None:
    """Seal until `stop`, while this process leads."""
    while not stop.wait(EVERY):
        with metrics.swallowed("audit-seals"):
            while leads() and seal(database) == BATCH and not stop.wait(PAUSE):
                pass


def seal(database: Database) -> int:
    """Seal the rows that wait, at most a batch; how many."""
    with database.reading() as db:
        if db.scalar(select(Unsealed.event_id).limit(1)) is None:
            return 0
    with database.transaction() as db:
        hold(db, "audit-seals")
        rows = _waiting(db)
        if rows:
            db.execute(insert(Seal), _chained(head(db), rows))
            db.execute(_without([row[0] for row in rows]))
        return len(rows)


def head(db: Session) -> Head:
    """The chain's last seal."""
    last = db.execute(select(Seal.seq, Seal.hash).order_by(Seal.seq.desc()).limit(1)).first()
    return Head(*last) if last is not None else Head()


def _waiting(db: Session) -> list[Row[Any]]:
    """The next rows, asked for by their ids: their order in the queue must not cost a look through the whole log."""
    ids = set(db.scalars(select(Unsealed.event_id).order_by(Unsealed.event_id).limit(BATCH)))
    sealed = set(db.scalars(select(Seal.event_id).where(Seal.event_id.in_(ids))))
    if sealed:  # somebody wrote into the queue by hand
        db.execute(_without(sealed))
    return list(db.execute(select(*COLUMNS).where(Event.id.in_(ids - sealed)).order_by(Event.id)))


def _without(ids: Collection[int]) -> Delete:
    return delete(Unsealed).where(Unsealed.event_id.in_(ids)).execution_options(synchronize_session=False)


def _chained(last: Head, rows: list[Row[Any]]) -> list[dict[str, object]]:
    seals: list[dict[str, object]] = []
    before = last.hash
    for seq, row in enumerate(rows, last.seq + 1):
        before = link(before, facts(row))
        seals.append({"seq": seq, "event_id": row[0], "hash": before})
    return seals
