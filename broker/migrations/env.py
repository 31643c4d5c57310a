"""Alembic's entry: the tables of all packages, on the database of the settings."""

from __future__ import annotations

from alembic import context

import broker.connections.models
import broker.courses.models
import broker.events
import broker.identity.models
import broker.leader
import broker.pools.images
import broker.pools.models
import broker.sessions.models
import broker.sharing.models  # noqa: F401
from broker.database import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
