"""reservations and courses, and whose seat a session is of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("environment", sa.String(length=40), nullable=False),
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("pools", sa.JSON(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_sessions", sa.Boolean(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(op.f("ix_reservations_ends_at"), "reservations", ["ends_at"])
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("reservation_id", sa.Integer(), nullable=True))
        table.create_foreign_key(
            op.f("fk_sessions_reservation_id_reservations"), "reservations", ["reservation_id"], ["id"]
        )
        table.create_index(op.f("ix_sessions_reservation_id"), ["reservation_id"])
        table.add_column(sa.Column("bound_until", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "courses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reservation_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("teachers", sa.JSON(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("over_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["reservations.id"], name=op.f("fk_courses_reservation_id_reservations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_courses")),
        sa.UniqueConstraint("reservation_id", name=op.f("uq_courses_reservation_id")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_courses_token_hash")),
    )
    op.create_table(
        "course_seats",
        sa.Column("course_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pictures", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["course_id"], ["courses.id"], name=op.f("fk_course_seats_course_id_courses")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_course_seats_user_id_users")),
        sa.PrimaryKeyConstraint("course_id", "user_id", name=op.f("pk_course_seats")),
    )
    op.create_index(op.f("ix_course_seats_user_id"), "course_seats", ["user_id"])


def downgrade() -> None:
    op.drop_table("course_seats")
    op.drop_table("courses")
    with op.batch_alter_table("sessions") as table:
        table.drop_index(op.f("ix_sessions_reservation_id"))
        table.drop_constraint(op.f("fk_sessions_reservation_id_reservations"), type_="foreignkey")
        table.drop_column("reservation_id")
        table.drop_column("bound_until")
    op.drop_index(op.f("ix_reservations_ends_at"), table_name="reservations")
    op.drop_table("reservations")
