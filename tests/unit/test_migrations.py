"""The database's versions: what they make is what the models say."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

import broker.connections.models
import broker.courses.models
import broker.leader
import broker.pools.images
import broker.sessions.models  # noqa: F401 - all tables, whatever was imported before
from broker import migrations
from broker.database import Base
from broker.runtime import Runtime

MACHINE = """
INSERT INTO machines (pool, environment, size, cloud, state, attempt, changed_at, requested_at)
VALUES ('p', 'e', 's', 'c', 'acquired', 3, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)
"""

IN_USE = (
    """INSERT INTO users (id, name, full_name, password_hash, role, groups, created_at)
       VALUES (1, 'alice', 'Alice', '', 'user', '[]', NOW)""",
    """INSERT INTO sign_ins (id, user_id, token_hash, created_at, expires_at) VALUES (1, 1, '', NOW, NOW)""",
    """INSERT INTO sessions (id, user_id, environment, wish, state, reason, tries, attempt, changed_at,
       requested_at, "group") VALUES (1, 1, 'e', '{}', 'ready', '', 0, 0, NOW, NOW, '')""",
    """INSERT INTO shares (session_id, kind, made_by_id, control, reason, created_at, expires_at)
       VALUES (1, 'link', 1, false, '', NOW, NOW)""",
    """INSERT INTO ssh_keys (id, user_id, name, public_key, fingerprint, kind, created_at)
       VALUES (1, 1, 'laptop', '', '', '', NOW)""",
    """INSERT INTO certificates (session_id, user_id, sign_in_id, ssh_key_id, fingerprint, issued_at, expires_at)
       VALUES (1, 1, 1, 1, '', NOW, NOW)""",
)


@pytest.fixture
def empty(each_runtime: Runtime) -> Runtime:
    """A deployment whose database has no table."""
    Base.metadata.drop_all(each_runtime.database.engine)
    with each_runtime.database.engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    return each_runtime


def test_the_newest_version_is_what_the_models_say(empty: Runtime) -> None:
    """A column or an index that nobody migrated to would be missed on the first launch after an update."""
    migrations.migrate(empty.database)
    with empty.database.engine.connect() as connection:
        lacks = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata)
    assert lacks == []


def test_a_database_of_the_first_version_keeps_what_it_has(empty: Runtime) -> None:
    """Machines and sessions of before go on."""
    migrations.migrate(empty.database, "0001")
    with empty.database.engine.begin() as connection:
        connection.execute(text(MACHINE))
    migrations.migrate(empty.database)
    with empty.database.engine.connect() as connection:
        assert connection.execute(text("SELECT state, attempt, tries FROM machines")).all() == [("acquired", 3, 0)]
        assert inspect(connection).has_table("reservations")


def test_what_refers_to_a_table_that_is_made_anew_stays(empty: Runtime) -> None:
    """SQLite makes a table anew to change it: shares of sessions, certificates of keys. Then it holds them again."""
    migrations.migrate(empty.database, "0016")
    with empty.database.engine.begin() as connection:
        for row in IN_USE:
            connection.execute(text(row.replace("NOW", "CURRENT_TIMESTAMP")))
    migrations.migrate(empty.database)
    with empty.database.engine.connect() as connection:
        kept = "SELECT session_id, ssh_key_id FROM certificates JOIN shares USING (session_id)"
        assert connection.execute(text(kept)).all() == [(1, 1)]
        with pytest.raises(IntegrityError):
            connection.execute(text("DELETE FROM sessions"))
