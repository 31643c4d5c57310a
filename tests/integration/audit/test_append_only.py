"""The audit log only grows: both databases refuse all else, whoever asks through the broker's own account."""

from __future__ import annotations

from contextlib import suppress

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from broker import migrations
from broker.database import Base, Database
from broker.events import Event, Seal, Unsealed
from broker.runtime import Runtime
from tests.integration.audit.rows import seal_all, seals, write

TABLES = {"events": "subject = 'x'", "event_seals": "hash = 'x'"}
REPLACE = {
    "events": "INSERT OR REPLACE INTO events (id, at, actor, action, kind, subject, detail) "
    "VALUES (1, '2026-01-01', 'eve', 'a:b', 'a', 'x', '{}')",
    "event_seals": "INSERT OR REPLACE INTO event_seals (seq, event_id, hash) VALUES (99, 1, 'x')",
}
UPSERT = {
    "events": "INSERT INTO events (id, at, actor, action, kind, subject, detail) VALUES "
    "(1, '2026-01-01', 'eve', 'a:b', 'a', 'x', '{}') ON CONFLICT (id) DO UPDATE SET subject = 'x'",
    "event_seals": "INSERT INTO event_seals (seq, event_id, hash) VALUES (1, 1, 'x') "
    "ON CONFLICT (seq) DO UPDATE SET hash = 'x'",
}


@pytest.fixture
def database(each_runtime: Runtime) -> Database:
    """One with three sealed rows."""
    write(each_runtime.database, 3)
    seal_all(each_runtime.database)
    return each_runtime.database


def tries(database: Database, table: str) -> list[str]:
    """Ways to change or remove what stands there."""
    ways = [f"UPDATE {table} SET {TABLES[table]}", f"DELETE FROM {table}", UPSERT[table]]
    return [*ways, REPLACE[table] if database.is_sqlite else f"TRUNCATE {table}"]


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_changed_or_removed_by_any_statement(database: Database, table: str) -> None:
    """UPDATE, DELETE, TRUNCATE, and inserts that would put another row in an old one's place."""
    before = content(database)
    for statement in tries(database, table):
        with pytest.raises(IntegrityError, match=f"the table {table} only grows"), database.engine.begin() as plain:
            plain.exec_driver_sql(statement)
        assert content(database) == before, statement


def content(database: Database) -> tuple[object, ...]:
    with database.reading() as db:
        return (*db.execute(select(Event.id, Event.subject, Event.actor).order_by(Event.id)), *seals(database))


def test_the_brokers_own_sessions_cannot_either(database: Database) -> None:
    """Through SQLAlchemy, as a mistake of ours would."""
    for statement in (update(Event).values(actor="eve"), delete(Event), delete(Seal)):
        with pytest.raises(IntegrityError, match="only grows"), database.transaction() as db:
            db.execute(statement)


def test_each_row_is_queued_for_its_seal_by_the_database_itself(each_runtime: Runtime) -> None:
    """By whatever way it comes; and not where its transaction is undone."""
    database = each_runtime.database
    write(database, 2)
    values = "('2026-01-01', 'eve', 'a:b', 'a', 'x', '{}')"
    with database.engine.begin() as plain:
        plain.exec_driver_sql(
            f"INSERT INTO events (at, actor, action, kind, subject, detail) VALUES {values}, {values}"
        )
    with suppress(ZeroDivisionError), database.transaction() as db:
        db.add(Event(actor="eve", action="a:b", kind="a", subject="x"))
        db.flush()
        _ = 1 // 0
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(Event)) == 4
        assert set(db.scalars(select(Unsealed.event_id))) == set(db.scalars(select(Event.id)))


def triggers(connection: Connection) -> set[tuple[str, ...]]:
    """The triggers and their functions, as the database has them."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    else:
        rows = connection.exec_driver_sql(
            "SELECT tgname, pg_get_triggerdef(oid), pg_get_functiondef(tgfoid) FROM pg_trigger WHERE NOT tgisinternal"
        )
    return {tuple(row) for row in rows}


def test_migrations_make_what_the_models_say_triggers_included(each_runtime: Runtime) -> None:
    """From nothing to the newest version, and back from this one to the one before and up again."""
    engine = each_runtime.database.engine
    with engine.begin() as connection:
        made = triggers(connection)
    assert made
    with engine.begin() as connection:
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    migrations.migrate(each_runtime.database)
    with engine.begin() as connection:
        assert triggers(connection) == made
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata) == []
        )


def test_rows_from_before_the_chain_are_sealed_with_it(each_runtime: Runtime) -> None:
    """A deployment that is brought to the new version has its whole log in the chain."""
    engine = each_runtime.database.engine
    with engine.begin() as connection:
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    migrations.migrate(each_runtime.database, "0010")
    with engine.begin() as connection:
        for n in range(3):
            connection.exec_driver_sql(
                "INSERT INTO events (at, actor, action, kind, subject, detail) "
                f"VALUES ('2026-01-01 00:00:00.000000', 'ada', 'a:b', 'a', 'x{n}', '{{}}')"
            )
    migrations.migrate(each_runtime.database)
    write(each_runtime.database)
    seal_all(each_runtime.database)
    assert len(seals(each_runtime.database)) == 4
