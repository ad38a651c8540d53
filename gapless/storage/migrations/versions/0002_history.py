"""History: the archive's objects, how complete each month is, funding, futures metrics, and refused restatements.

Revision ID: 0002
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import inspect, text

from gapless.storage.mysql.sql import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """DDL commits as it goes, so each statement can be repeated after a kill; MySQL cannot ADD COLUMN IF NOT EXISTS."""
    names = ["0002_books", "0002_series"]
    if "applied" not in {column["name"] for column in inspect(op.get_bind()).get_columns("restatement")}:
        names.append("0002_restatement")
    for name in names:
        for statement in statements(name):
            op.execute(text(statement))


def downgrade() -> None:
    """There is no way back that keeps the data; restore a dump instead."""
    raise NotImplementedError("this schema cannot be undone without losing funding, metrics and the manifest")
