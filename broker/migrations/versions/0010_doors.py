"""by which door a ticket and a connection are"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = ("tickets", "connections")


def upgrade() -> None:
    for name in _TABLES:
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("way", sa.String(length=16), nullable=False, server_default="browser"))
        with op.batch_alter_table(name) as table:
            table.alter_column("way", server_default=None)


def downgrade() -> None:
    for name in _TABLES:
        with op.batch_alter_table(name) as table:
            table.drop_column("way")
