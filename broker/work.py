"""Who is at work on a row: a lease of seconds, renewed while the worker lives, fenced by the row's attempt number.

A worker that dies leaves a lease that runs out; whoever finds it so raises the attempt and starts anew. A worker
that was only slow then finds another number in the row, and none of its writes goes through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, update

from broker.database import Database, now

LEASE = timedelta(seconds=12)
RENEW_EVERY = 3.0


@contextmanager
def held(database: Database, table: Any, row_id: int, attempt: int) -> Iterator[bool]:
    """Hold the row while the block runs; False where another holds it or the attempt is past."""
    if not _take(database, table, row_id, attempt):
        yield False
        return
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(database, table, row_id, attempt, done), daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        done.set()
        renewer.join()
        _write(database, table, row_id, attempt, None)


def start_anew(database: Database, table: Any, row_id: int, attempt: int) -> int | None:
    """Raise the attempt of a row whose worker was lost; the new number, or None where somebody was quicker."""
    with database.transaction() as db:
        return db.execute(
            update(table)
            .where(
                table.id == row_id,
                table.attempt == attempt,
                or_(table.work_until.is_(None), table.work_until < now()),
            )
            .values(attempt=attempt + 1, work_until=None)
            .returning(table.attempt)
            .execution_options(synchronize_session=False)
        ).scalar()


def _take(database: Database, table: Any, row_id: int, attempt: int) -> bool:
    with database.transaction() as db:
        taken = db.execute(
            update(table)
            .where(
                table.id == row_id,
                table.attempt == attempt,
                or_(table.work_until.is_(None), table.work_until < now()),
            )
            .values(work_until=now() + LEASE)
            .execution_options(synchronize_session=False)
        )
        return bool(taken.rowcount == 1)  # type: ignore[attr-defined]


def _renew(database: Database, table: Any, row_id: int, attempt: int, done: threading.Event) -> None:
    while not done.wait(RENEW_EVERY):
        _write(database, table, row_id, attempt, now() + LEASE)


def _write(database: Database, table: Any, row_id: int, attempt: int, until: Any) -> None:
    with database.transaction() as db:
        db.execute(
            update(table)
            .where(table.id == row_id, table.attempt == attempt)
            .values(work_until=until)
            .execution_options(synchronize_session=False)
        )
