"""Tables that only grow: triggers of the database's own refuse to change or remove a row, by whatever way it is asked.

They hold off mistakes and smuggled SQL. Who owns the tables can drop them; that is what the chain is for
(broker.audit). They are made with the tables; what migrations make is held to be the same.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event

FUNCTION = """CREATE OR REPLACE FUNCTION beamdesk_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION USING MESSAGE = 'the table ' || TG_TABLE_NAME || ' only grows', ERRCODE = 'restrict_violation';
END $$"""


def protect(table: Any, *keys: str) -> None:
    """Refuse to change or remove rows of `table`. `keys` are its unique columns, each alone: SQLite's INSERT OR REPLACE
    removes the row that has one of them without asking the trigger for deletions."""
    name = table.__tablename__
    same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
    refuse = f"BEGIN SELECT RAISE(ABORT, 'the table {name} only grows'); END"
    exists = f"EXISTS (SELECT 1 FROM {name} WHERE {same})"  # noqa: S608 - names of our own tables
    sqlite = (
        f"CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} {refuse}",
        f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} {refuse}",
        f"CREATE TRIGGER {name}_no_replace BEFORE INSERT ON {name} WHEN {exists} {refuse}",
    )
    postgresql = (
        FUNCTION,
        f"CREATE TRIGGER {name}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION beamdesk_only_grows()",
    )
    _with(table, {"sqlite": sqlite, "postgresql": postgresql})


def queue(table: Any, waiting: Any) -> None:
    """Write the id of each new row of `table` into `waiting`, with the moment by the database's clock."""
    name, queue_ = table.__tablename__, waiting.__tablename__
    into = f"INSERT INTO {queue_} (event_id, since)"
    moment = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    after = f"CREATE TRIGGER {name}_queue AFTER INSERT ON {name}"
    function = f"CREATE OR REPLACE FUNCTION beamdesk_queue_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    sqlite = (f"{after} BEGIN {into} VALUES (NEW.id, {moment}); END",)
    postgresql = (
        f"{function}\n{into} SELECT id, clock_timestamp() FROM fresh; RETURN NULL;\nEND $$",  # noqa: S608 - names of our own tables
        f"{after} REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION beamdesk_queue_{name}()",
    )
    waiting.__table__.add_is_dependent_on(table.__table__)
    _with(waiting, {"sqlite": sqlite, "postgresql": postgresql})


def _with(table: Any, statements: dict[str, tuple[str, ...]]) -> None:
    """Run these where the table is made."""

    def made(_table: Any, connection: Connection, **_: Any) -> None:
        for statement in statements.get(connection.dialect.name, ()):
            connection.exec_driver_sql(statement)

    event.listen(table.__table__, "after_create", made)
