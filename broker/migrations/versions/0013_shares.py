"""Desktops that are shared with others than their owner"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("made_by_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("link_id", sa.Integer(), nullable=True),
        sa.Column("control", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["link_id"], ["shares.id"], name=op.f("fk_shares_link_id_shares")),
        sa.ForeignKeyConstraint(["made_by_id"], ["users.id"], name=op.f("fk_shares_made_by_id_users")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_shares_session_id_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shares_user_id_users")),
        sa.ForeignKeyConstraint(["withdrawn_by_id"], ["users.id"], name=op.f("fk_shares_withdrawn_by_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_shares_token_hash")),
    )
    for column in ("link_id", "session_id", "user_id"):
        op.create_index(op.f(f"ix_shares_{column}"), "shares", [column])
    op.create_table(
        "join_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.String(length=16), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("share_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_join_requests_session_id_sessions")),
        sa.ForeignKeyConstraint(["share_id"], ["shares.id"], name=op.f("fk_join_requests_share_id_shares")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_join_requests_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_requests")),
    )
    op.create_index(op.f("ix_join_requests_session_id"), "join_requests", ["session_id"])
    with op.batch_alter_table("tickets") as table:
        table.add_column(sa.Column("share_id", sa.Integer(), nullable=True))
        table.create_foreign_key(op.f("fk_tickets_share_id_shares"), "shares", ["share_id"], ["id"])
    with op.batch_alter_table("connections") as table:
        table.add_column(sa.Column("share_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("view_only", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.create_foreign_key(op.f("fk_connections_share_id_shares"), "shares", ["share_id"], ["id"])
        table.create_index(op.f("ix_connections_share_id"), ["share_id"])
    with op.batch_alter_table("connections") as table:
        table.alter_column("view_only", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("connections") as table:
        table.drop_index(op.f("ix_connections_share_id"))
        table.drop_constraint(op.f("fk_connections_share_id_shares"), type_="foreignkey")
        for column in ("view_only", "share_id"):
            table.drop_column(column)
    with op.batch_alter_table("tickets") as table:
        table.drop_constraint(op.f("fk_tickets_share_id_shares"), type_="foreignkey")
        table.drop_column("share_id")
    op.drop_table("join_requests")
    op.drop_table("shares")
