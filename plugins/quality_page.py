"""Airflow plugin: the data docs of the daily quality check, in the side bar."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from gapless_airflow.docs_page import PREFIX, DocsPage


class QualityPage(AirflowPlugin):
    """Serves the pages under the API server's own address and login, and shows them inside the UI."""

    name = "gapless_quality_page"
    fastapi_apps: list[Any] = [  # noqa: RUF012  # as the base class declares it
        {"app": DocsPage(), "url_prefix": PREFIX, "name": "Gapless data docs"}
    ]
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Data docs",  # the side bar cuts after about nine characters
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "data-docs",
        }
    ]
