"""The engine, the declarative base, and the one transaction().

SQLite needs care under load: every writing transaction begins IMMEDIATE (no lock upgrade can fail half-way), WAL
lets readers go on, and a lock per process keeps the order fair (SQLite's own waiting is not: it sleeps and
polls). PostgreSQL needs none of that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, Engine, MetaData, create_engine, event, func, insert, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

Change = tuple[str, int | str]  # what changed: ("session", 7)
Listener = Callable[[frozenset[tuple[Change, int | None]]], None]


def now() -> datetime:
    """The present moment, in UTC and aware of it."""
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Moment, dict[str, Any]: JSON, list[str]: JSON}


class Database:
    """One database: `transaction()` to change it, `reading()` to look."""

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.engine = _sqlite_engine(url, pool_size) if url.startswith("sqlite") else _engine(url, pool_size)
        self._reader = self.engine.execution_options(reading=True)
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()
        self.listeners: list[Listener] = []

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, which has no SKIP LOCKED."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit what the block did, or nothing of it; then tell the listeners what changed."""
        with self._turn, Session(self.engine, expire_on_commit=False) as db:
            with db.begin():
                yield db
                _write_noted(db)
            changed = frozenset(db.info.get("changed", ()))
        if changed:
            for listener in self.listeners:
                listener(changed)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A look at one moment of the database, without a lock."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as db:
            yield db

    def close(self) -> None:
        """Give the connections back; needed in a process after a fork."""
        self.engine.dispose()


def changed(db: Session, kind: str, id_: int | str, owner: int | None = None) -> None:
    """Note that this thing changes in the transaction of `db`; `owner` is the user who may see it."""
    db.info.setdefault("changed", set()).add(((kind, id_), owner))


def note(db: Session, table: type[Base], **row: Any) -> None:
    """Insert this row with the commit of `db`, all that are noted of a table in one batch.

    For rows that are only written down, as the audit log's: the transaction cannot read them back.
    """
    db.info.setdefault("noted", {}).setdefault(table, []).append(row)


def _write_noted(db: Session) -> None:
    for table, rows in db.info.pop("noted", {}).items():
        db.flush()  # what the rows refer to
        db.connection().execute(insert(table.__table__).returning(*table.__table__.primary_key), rows)  # one statement


def hold(db: Session, name: str) -> None:
    """Wait for the one lock of this name, and hold it until the transaction of `db` ends.

    For a sum over many rows that must not pass a limit, which no row's own lock guards. SQLite's writers are alone
    anyway.
    """
    if db.get_bind().dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _engine(url: str, pool_size: int) -> Engine:
    # The connection that was used last is used first: it holds its statements prepared.
    pool = {"pool_size": pool_size, "max_overflow": pool_size, "pool_use_lifo": True, "pool_timeout": 30}
    return create_engine(url, pool_pre_ping=True, **pool)


def _sqlite_engine(url: str, pool_size: int) -> Engine:
    engine = create_engine(url, pool_size=pool_size, max_overflow=pool_size * 4, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.cursor().execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
