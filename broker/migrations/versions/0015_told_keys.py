"""which of the broker's keys a machine believes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("machines") as table:
        table.add_column(sa.Column("told", sa.String(length=16), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("machines") as table:
        table.drop_column("told")
