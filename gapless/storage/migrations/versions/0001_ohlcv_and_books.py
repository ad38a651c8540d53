"""Bars and the books.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from gapless.storage.mysql.sql import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """DDL commits as it goes, so each statement can be repeated after a kill."""
    for name in ("0001_ohlcv", "0001_books"):
        for statement in statements(name):
            op.execute(text(statement))


def downgrade() -> None:
    """There is no way back that keeps the data; restore a dump instead."""
    raise NotImplementedError("the first schema cannot be undone without losing all data")
