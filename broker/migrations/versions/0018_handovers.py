"""Sessions that are handed over to another owner, and go on under the account of who launched them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

PEOPLE = ("giver_id", "receiver_id", "made_by_id")


def upgrade() -> None:
    op.create_table(
        "handovers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in PEOPLE),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_handovers_session_id_sessions")),
        *(sa.ForeignKeyConstraint([name], ["users.id"], name=op.f(f"fk_handovers_{name}_users")) for name in PEOPLE),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handovers")),
    )
    for column in ("session_id", *PEOPLE):
        op.create_index(op.f(f"ix_handovers_{column}"), "handovers", [column])
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("account_id", sa.Integer(), nullable=True))
        table.create_foreign_key(op.f("fk_sessions_account_id_users"), "users", ["account_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("sessions") as table:
        table.drop_constraint(op.f("fk_sessions_account_id_users"), type_="foreignkey")
        table.drop_column("account_id")
    op.drop_table("handovers")
