"""The daily checks: their results and totals, doubtful rows, pages, and when a gap is tried again.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import inspect, text

from gapless.storage.mysql.sql import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each statement can be repeated after a kill; see revision 0002."""
    names = ["0003_books"]
    if "next_try_at" not in {column["name"] for column in inspect(op.get_bind()).get_columns("data_gap_log")}:
        names.append("0003_gap_log")
    for name in names:
        for statement in statements(name):
            op.execute(text(statement))


def downgrade() -> None:
    """There is no way back that keeps the data; restore a dump instead."""
    raise NotImplementedError("this schema cannot be undone without losing pages and a person's decisions")
