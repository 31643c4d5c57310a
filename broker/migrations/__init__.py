"""The database's versions: `migrate()` brings it to the newest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from broker.database import Database

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the database to `revision`; what is there already is left as it is."""
    from alembic import command

    with database.engine.connect() as connection, _rebuilding(connection):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


@contextmanager
def _rebuilding(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by making it anew (sqlite.org/lang_altertable.html, 7): rows that refer to the old one
    must neither go with it nor hold it. Said to the driver, because it counts only where no transaction is open."""
    driver = connection.connection.driver_connection
    if connection.dialect.name != "sqlite" or driver is None:
        yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        connection.rollback()  # what was not committed
        driver.execute("PRAGMA foreign_keys=ON")


def draft(database: Database, message: str) -> None:
    """Write a new revision file from what the models have and the database lacks."""
    from alembic import command

    with database.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.revision(config, message, autogenerate=True)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
