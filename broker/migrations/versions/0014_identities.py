"""identities at OpenID providers, what a sign-in is recognised by, failed sign-ins, used logout tokens"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OF_SIGN_INS = (
    ("seen_at", sa.DateTime(timezone=True)),
    ("address", sa.String(length=64)),
    ("program", sa.String(length=200)),
    ("identity_id", sa.Integer()),
    ("sid", sa.String(length=255)),
    ("sealed_tokens", sa.Text()),
    ("refresh_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("identifier", sa.String(length=320), nullable=True),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identities_issuer")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])
    op.create_index(op.f("ix_identities_identifier"), "identities", ["identifier"])
    with op.batch_alter_table("sign_ins") as table:
        for name, kind in _OF_SIGN_INS:
            table.add_column(sa.Column(name, kind, nullable=True))
        table.create_foreign_key(op.f("fk_sign_ins_identity_id_identities"), "identities", ["identity_id"], ["id"])
        table.create_index(op.f("ix_sign_ins_identity_id"), ["identity_id"])
        table.create_index(op.f("ix_sign_ins_refresh_at"), ["refresh_at"])
    op.create_table(
        "failed_sign_ins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_sign_ins")),
    )
    for column in ("at", "name", "address"):
        op.create_index(op.f(f"ix_failed_sign_ins_{column}"), "failed_sign_ins", [column])
    op.create_table(
        "logout_notices",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_logout_notices")),
    )
    op.create_index(op.f("ix_logout_notices_at"), "logout_notices", ["at"])


def downgrade() -> None:
    op.drop_table("logout_notices")
    op.drop_table("failed_sign_ins")
    with op.batch_alter_table("sign_ins") as table:
        table.drop_index(op.f("ix_sign_ins_refresh_at"))
        table.drop_index(op.f("ix_sign_ins_identity_id"))
        table.drop_constraint(op.f("fk_sign_ins_identity_id_identities"), type_="foreignkey")
        for name, _ in _OF_SIGN_INS:
            table.drop_column(name)
    op.drop_table("identities")
