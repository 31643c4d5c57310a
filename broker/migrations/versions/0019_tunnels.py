"""machines that dial out"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        machines.add_column(sa.Column("ssh_port", sa.Integer(), nullable=False, server_default="22"))
    op.create_table(
        "tunnel_ends",
        sa.Column("address", sa.String(15), primary_key=True),
        sa.Column("machine_id", sa.Integer(), nullable=True, unique=True),
        sa.Column("host_key", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("tunnel_ends")
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("ssh_port")
