"""The data docs as a small web application for Airflow's API server: read-only, behind Airflow's own login."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

PREFIX = "/data-docs"
DAG_ID = "quality_daily"
"""Whoever may see the runs of this DAG may read its reports."""

INDEX = "index.html"
HEADERS = {
    # The pages bring their own scripts and styles. Nothing may be fetched from, or sent to, anywhere else, whatever a
    # name or value that is shown in them says.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; font-src 'self' data:; connect-src 'none'; frame-ancestors 'self'; base-uri 'self';"
        " form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#222;background:#fff}}
code{{background:#eee;padding:.1em .3em;border-radius:3px}}
@media (prefers-color-scheme:dark){{body{{color:#ddd;background:#111}}code{{background:#333}}a{{color:#8cf}}}}</style>
<h1>{title}</h1>{body}</html>
"""
_NOTHING_YET = """<p>No quality report has been built here yet. <code>quality_daily</code> builds one every day, when
<code>gap_diff_daily</code> has ended.</p>
<p>For one now: trigger <code>quality_daily</code> with a day for which bars are stored, or run
<code>gapless quality --day 2026-11-20</code> where Airflow's workers run. Then load this page again.</p>"""
_NOT_THERE = """<p>There is no such page. Reports are kept for a time, which <code>include/retention.yaml</code> says;
of an older one the verdict is still in the table <code>check_run</code>.</p><p><a href="{home}">All reports</a></p>"""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Permit = Callable[..., object]


class Docs(Protocol):
    """What is read of the settings at each request: a site that is built later is seen without a restart."""

    @property
    def data_docs_dir(self) -> Path: ...


class DocsPage:
    """The application, made at its first request.

    Airflow reads plugins in every process, tasks included; only the API server gets requests, so only it pays for the
    imports.
    """

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
            from airflow.api_fastapi.core_api.security import requires_access_dag

            from gapless.config import load_settings

            permit = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)
            self._app = make_app(permit, load_settings)
        await self._app(scope, receive, send)


def make_app(permit: Permit, settings: Callable[[], Docs]) -> FastAPI:
    """The application: everything below it asks `permit` first.

    Args:
        permit: a FastAPI dependency that raises unless the caller may read: 401 without a login, 403 without the right.
        settings: asked at each request for where the pages lie.
    """
    from fastapi import Depends, FastAPI, Request
    from starlette.exceptions import HTTPException

    # Without its own documentation pages: those would answer whoever asks.
    app = FastAPI(title="Gapless data docs", docs_url=None, redoc_url=None, openapi_url=None)

    async def page(request: Request, path: str = "") -> Response:
        docs = settings()
        home = f"{request.scope.get('root_path', '').rstrip('/')}/"
        try:
            return await _answer(docs, path, home, request.scope)
        except HTTPException as refused:
            if refused.status_code != 404:
                raise
            return _say("Not here", _NOT_THERE.format(home=escape(home, quote=True)), 404)

    # Not in the signature above: names that are imported inside a function are no annotations for FastAPI to resolve.
    page.__annotations__ = {"request": Request, "path": str}
    app.add_api_route(
        "/{path:path}", page, methods=["GET", "HEAD"], dependencies=[Depends(permit)], response_model=None
    )
    return app


async def _answer(docs: Docs, path: str, home: str, scope: MutableMapping[str, Any]) -> Response:
    from starlette.exceptions import HTTPException
    from starlette.responses import RedirectResponse
    from starlette.staticfiles import StaticFiles

    if path in ("", INDEX):
        if (docs.data_docs_dir / INDEX).is_file():
            path = INDEX
        else:
            sites = sites_of(docs.data_docs_dir)
            if not sites:
                return _say("No reports yet", _NOTHING_YET, 200)
            return RedirectResponse(f"{home}{sites[0]}/{INDEX}", status_code=302, headers=HEADERS)
    if "\0" in path or any(part.startswith(".") for part in path.split("/")):
        raise HTTPException(404)
    files = StaticFiles(directory=docs.data_docs_dir, html=True, check_dir=False)
    answer = await files.get_response(path, scope)
    answer.headers.update(HEADERS)
    return answer


def sites_of(folder: Path) -> list[str]:
    """The sites that are built, by name."""
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if not each.name.startswith(".") and (each / INDEX).is_file())


def _say(title: str, body: str, status: int) -> Response:
    from starlette.responses import HTMLResponse

    return HTMLResponse(_PAGE.format(title=escape(title), body=body), status_code=status, headers=HEADERS)
