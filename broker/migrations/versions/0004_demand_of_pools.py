"""the demand of pools"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('pool_demands',
    sa.Column('pool', sa.String(length=40), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('launches', sa.Double(), nullable=False),
    sa.Column('shape', sa.Double(), nullable=False),
    sa.Column('seconds', sa.Double(), nullable=False),
    sa.Column('needed', sa.Integer(), nullable=False),
    sa.Column('kept', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('pool', name=op.f('pk_pool_demands'))
    )


def downgrade() -> None:
    op.drop_table('pool_demands')
