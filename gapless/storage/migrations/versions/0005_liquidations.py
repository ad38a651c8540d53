"""Liquidations, as the live sidecar receives them.

Revision ID: 0005
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from gapless.storage.mysql.sql import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each statement can be repeated after a kill; see revision 0002."""
    for statement in statements("0005_books"):
        op.execute(text(statement))


def downgrade() -> None:
    """There is no way back that keeps the data; restore a dump instead."""
    raise NotImplementedError("this schema cannot be undone without losing the liquidations, which nobody has again")
