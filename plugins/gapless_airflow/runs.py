"""What tasks say of the run they belong to: where a person finds it, what names it in the books, who was told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from gapless.pipeline.paging import PagesReport


def run_id(context: Mapping[str, Any]) -> str:
    """The run's name beyond its DAG: `gap_diff_daily/scheduled__2026-11-20T00:10:00+00:00`."""
    instance = context["ti"]
    return f"{instance.dag_id}/{instance.run_id}"


def link(context: Mapping[str, Any]) -> str:
    """The run's page in Airflow's UI."""
    from airflow.sdk.configuration import conf

    instance = context["ti"]
    base = str(conf.get("api", "base_url", fallback="http://localhost:8080/")).rstrip("/")
    return f"{base}/dags/{quote(instance.dag_id)}/runs/{quote(instance.run_id)}"


def identity(context: Mapping[str, Any], *parts: object) -> str:
    """A sha256 (hex) of the run and `parts`: the same at every try, so that what is entered again replaces itself."""
    return hashlib.sha256("\n".join([run_id(context), *map(str, parts)]).encode()).hexdigest()


def show_pages(report: PagesReport) -> None:
    """Who was told of what, in the task's log. A receiver that is away fails nothing: it is told at the next run."""
    print(f"pages: {report.sent} sent, {report.resolved} resolved, {report.open} open, {report.unpaged} untold")
    for error in report.errors:
        print(f"  not told: {error}")
