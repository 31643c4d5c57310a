"""users' SSH keys, the certificates of sessions, and the connections that they open"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ssh_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_ssh_keys_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ssh_keys")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_ssh_keys_fingerprint")),
    )
    op.create_index(op.f("ix_ssh_keys_user_id"), "ssh_keys", ["user_id"])
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("sign_in_id", sa.Integer(), nullable=False),
        sa.Column("ssh_key_id", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_certificates_session_id_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_certificates_user_id_users")),
        sa.ForeignKeyConstraint(["sign_in_id"], ["sign_ins.id"], name=op.f("fk_certificates_sign_in_id_sign_ins")),
        sa.ForeignKeyConstraint(
            ["ssh_key_id"], ["ssh_keys.id"], name=op.f("fk_certificates_ssh_key_id_ssh_keys"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_index(op.f("ix_certificates_session_id"), "certificates", ["session_id"])
    op.create_index(op.f("ix_certificates_ssh_key_id"), "certificates", ["ssh_key_id"])
    with op.batch_alter_table("connections") as table:
        table.add_column(sa.Column("certificate_id", sa.Integer(), nullable=True))
        table.create_foreign_key(
            op.f("fk_connections_certificate_id_certificates"), "certificates", ["certificate_id"], ["id"]
        )
        table.create_index(op.f("ix_connections_certificate_id"), ["certificate_id"])


def downgrade() -> None:
    with op.batch_alter_table("connections") as table:
        table.drop_index(op.f("ix_connections_certificate_id"))
        table.drop_constraint(op.f("fk_connections_certificate_id_certificates"), type_="foreignkey")
        table.drop_column("certificate_id")
    op.drop_table("certificates")
    op.drop_table("ssh_keys")
