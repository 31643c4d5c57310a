"""Rows of the audit log for tests, and a superuser's hand in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import insert, select

from broker import events
from broker.audit import sealing
from broker.audit.verify import verify
from broker.database import Database, now
from broker.events import Event, Seal

TRIGGERS = [f"{table}_no_{what}" for table in ("events", "event_seals") for what in ("update", "delete", "replace")]


def write(database: Database, number: int = 1, **more: Any) -> None:
    """So many rows, in one transaction."""
    with database.transaction() as db:
        for n in range(number):
            events.record(db, "pool:resize", f"p{n}", actor="ada", **{"reason": "tést", "share": 0.1, **more})


def write_many(database: Database, number: int) -> None:
    """The same for a backlog, quickly."""
    row = {"at": now(), "actor": "ada", "action": "pool:resize", "kind": "pool", "subject": "p", "detail": {"n": 1}}
    with database.transaction() as db:
        for begin in range(0, number, 5000):
            db.execute(insert(Event), [row] * min(5000, number - begin))


def seal_all(database: Database) -> None:
    """Until nothing waits."""
    while sealing.seal(database):
        pass


def tamper(database: Database, *statements: str) -> None:
    """As a superuser does it, past the triggers; the queue for new rows stays as it is."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            for name in TRIGGERS:
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)
        if not database.is_sqlite:
            connection.exec_driver_sql("SET session_replication_role = DEFAULT")


def without_queue(database: Database, statement: str) -> None:
    """A superuser's INSERT that does not even queue its row."""
    if database.is_sqlite:
        with database.engine.begin() as connection:
            with suppress(Exception):
                connection.exec_driver_sql("DROP TRIGGER events_queue")
            connection.exec_driver_sql(statement)
    else:
        tamper(database, statement)


def seals(database: Database) -> Sequence[tuple[int, int, str]]:
    """The chain as it stands: number, row, hash."""
    with database.reading() as db:
        return [tuple(row) for row in db.execute(select(Seal.seq, Seal.event_id, Seal.hash).order_by(Seal.seq))]


def found(database: Database, **how: Any) -> list[str]:
    """What is wrong, in a word each."""
    return [finding.what for finding in verify(database, **how).findings]
