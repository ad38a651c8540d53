"""Read by Airflow at start (this folder is on its path): the command line's share of the guard against large backfills.

`airflow backfill create` writes to the database without passing the API, so the middleware never sees it. The hook
that Airflow calls before a command runs does. A `config/airflow_local_settings.py` of your own takes this file's
place; register `confirm_large_backfill` there to keep the guard.
"""

from __future__ import annotations

from airflow.utils.cli_action_loggers import register_pre_exec_callback

from gapless_airflow.backfill_command import confirm_large_backfill

register_pre_exec_callback(confirm_large_backfill)  # type: ignore[no-untyped-call]

__all__: list[str] = []  # nothing here replaces a setting of Airflow's
