"""Airflow plugin: a native backfill of more than 200 runs must be confirmed before it is made."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from gapless_airflow.backfill_guard import LargeBackfillGuard


class LargeBackfills(AirflowPlugin):
    """Puts the guard before the API, and so before the UI, which is a client of it."""

    name = "gapless_large_backfills"
    fastapi_root_middlewares: list[Any] = [  # noqa: RUF012  # as the base class declares it
        {"name": "Large backfills are confirmed first", "middleware": LargeBackfillGuard, "args": [], "kwargs": {}}
    ]
