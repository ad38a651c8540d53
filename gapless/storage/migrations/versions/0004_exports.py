"""Months that leave for the lake: the book of exports.

Revision ID: 0004
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from gapless.storage.mysql.sql import statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each statement can be repeated after a kill; see revision 0002."""
    for statement in statements("0004_books"):
        op.execute(text(statement))


def downgrade() -> None:
    """There is no way back that keeps the data; restore a dump instead."""
    raise NotImplementedError("this schema cannot be undone without losing the receipts of months that left")
