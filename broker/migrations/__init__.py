"""The database's versions: `migrate()` brings it to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from broker.database import Database

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the database to `revision`; what is there already is left as it is."""
    from alembic import command

    with database.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


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
