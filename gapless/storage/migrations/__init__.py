"""The schema's history, run by Alembic. Revisions run the files of `include/sql/ddl` that bear their number."""
