"""where events come from, and their seals; events only grow from now on"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SQLITE = [
    f"CREATE TRIGGER {table}_no_{what.lower()} BEFORE {what} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the table {table} only grows'); END"
    for table in ("events", "event_seals")
    for what in ("UPDATE", "DELETE")
] + [
    f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
    f"BEGIN SELECT RAISE(ABORT, 'the table {table} only grows'); END"
    for table, same in (("events", "id = NEW.id"), ("event_seals", "seq = NEW.seq OR event_id = NEW.event_id"))
] + [
    "CREATE TRIGGER events_queue AFTER INSERT ON events BEGIN INSERT INTO unsealed_events (event_id, since) "
    "VALUES (NEW.id, strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'); END",
]
POSTGRESQL = [
    """CREATE OR REPLACE FUNCTION beamdesk_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION USING MESSAGE = 'the table ' || TG_TABLE_NAME || ' only grows', ERRCODE = 'restrict_violation';
END $$""",
    *(
        f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION beamdesk_only_grows()"
        for table in ("events", "event_seals")
    ),
    """CREATE OR REPLACE FUNCTION beamdesk_queue_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO unsealed_events (event_id, since) SELECT id, clock_timestamp() FROM fresh; RETURN NULL;
END $$""",
    "CREATE TRIGGER events_queue AFTER INSERT ON events REFERENCING NEW TABLE AS fresh "
    "FOR EACH STATEMENT EXECUTE FUNCTION beamdesk_queue_events()",
]


def upgrade() -> None:
    op.add_column("events", sa.Column("client", sa.String(length=64), nullable=True))
    op.add_column("events", sa.Column("via", sa.String(length=64), nullable=True))
    op.create_table(
        "event_seals",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event_seals")),
        sa.UniqueConstraint("event_id", name=op.f("uq_event_seals_event_id")),
    )
    op.create_table(
        "unsealed_events",
        sa.Column("event_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_unsealed_events")),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'" if sqlite else "now()"
    before = f"INSERT INTO unsealed_events (event_id, since) SELECT id, {moment} FROM events"
    for statement in [before, *(SQLITE if sqlite else POSTGRESQL)]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    names = ("queue", "no_update", "no_delete", "no_replace") if sqlite else ("queue", "only_grows")
    for name in names:
        op.get_bind().exec_driver_sql(f"DROP TRIGGER events_{name}" + ("" if sqlite else " ON events"))
    op.drop_table("unsealed_events")
    op.drop_table("event_seals")
    if not sqlite:
        op.get_bind().exec_driver_sql("DROP FUNCTION beamdesk_only_grows, beamdesk_queue_events")
    with op.batch_alter_table("events") as table:
        table.drop_column("via")
        table.drop_column("client")
