"""how sessions are used, and what their users said of it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENTS = ("heard_at", "last_active_at", "idle_warned_at", "kept_at")
_WORDS = ("last_sign", "work")


def upgrade() -> None:
    with op.batch_alter_table("sessions") as table:
        for name in _MOMENTS:
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        for name in _WORDS:
            table.add_column(sa.Column(name, sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("sessions") as table:
        for name in (*_MOMENTS, *_WORDS):
            table.drop_column(name)
