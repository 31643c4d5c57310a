"""SSH keys that more than one account may register, each for itself"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

LATER = "SELECT later.id FROM ssh_keys later JOIN ssh_keys first USING (fingerprint) WHERE first.id < later.id"


def upgrade() -> None:
    with op.batch_alter_table("ssh_keys") as keys:
        keys.drop_constraint(op.f("uq_ssh_keys_fingerprint"), type_="unique")
        keys.create_unique_constraint(op.f("uq_ssh_keys_user_id"), ["user_id", "fingerprint"])


def downgrade() -> None:
    op.execute(sa.text(f"UPDATE certificates SET ssh_key_id = NULL WHERE ssh_key_id IN ({LATER})"))  # noqa: S608
    op.execute(sa.text(f"DELETE FROM ssh_keys WHERE id IN ({LATER})"))  # noqa: S608
    with op.batch_alter_table("ssh_keys") as keys:
        keys.drop_constraint(op.f("uq_ssh_keys_user_id"), type_="unique")
        keys.create_unique_constraint(op.f("uq_ssh_keys_fingerprint"), ["fingerprint"])
