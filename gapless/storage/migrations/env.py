"""Alembic's entry: runs the revisions on the connection that `gapless.storage.mysql.schema.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from gapless.storage.mysql.books import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
with context.begin_transaction():
    context.run_migrations()
