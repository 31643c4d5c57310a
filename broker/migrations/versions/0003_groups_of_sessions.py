"""the group that a session counts for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('group', sa.String(length=64), nullable=False, server_default=''))
        batch_op.create_index('ix_sessions_group_state', ['group', 'state'], unique=False)
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.alter_column('group', server_default=None)


def downgrade() -> None:
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.drop_index('ix_sessions_group_state')
        batch_op.drop_column('group')
