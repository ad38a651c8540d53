"""The pages as a person sees them: open ones, the last that are over, and who is paged at all."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec

from gapless.domain.window import iso
from gapless.errors import NotFound
from gapless.monitoring.pager import receivers_of
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.page_book import (
    RESOLVED,
    RESOLVING,
    SENDING,
    SENT,
    StoredPage,
    count_untold,
    pages_locked,
    put_page,
    read_page,
    read_pages,
    standing_gaps,
)


class PageRow(msgspec.Struct, frozen=True):
    """A page; times in ISO 8601, empty while they are to come.

    Attributes:
        state: `sending` (nobody has taken it yet), `sent`, `resolving` (over, not all receivers know it), `resolved`.
        told: the receivers that took it.
        gaps: how many of its gaps are not over.
    """

    key: str
    kind: str
    state: str
    summary: str
    created: str
    sent: str
    resolved: str
    told: tuple[str, ...]
    gaps: int
    facts: dict[str, Any]
    link: str
    runbook: str


class PagesView(msgspec.Struct, frozen=True):
    """Attributes:
    receivers: who is configured.
    unpaged: failed gaps that nobody was told of.
    pages: those that are not over, then the newest of those that are.
    """

    receivers: tuple[str, ...]
    unpaged: int
    pages: tuple[PageRow, ...]


def view_pages(rt: Runtime, *, newest: int = 20) -> PagesView:
    """All pages that are not over, and the `newest` that are.

    Raises:
        StorageError: MySQL did not answer for as long as retries last.
        ConfigError: the address of a receiver is wrong.
    """
    pages = [*read_pages(rt.db, (SENDING, SENT, RESOLVING)), *read_pages(rt.db, (RESOLVED,), newest=newest)]
    standing = standing_gaps(rt.db, [page.key for page in pages if page.state != RESOLVED])
    return PagesView(
        receivers=tuple(receiver.name for receiver in receivers_of(rt.settings)),
        unpaged=count_untold(rt.db),
        pages=tuple(_row(page, len(standing.get(page.key, ()))) for page in pages),
    )


def close_page(rt: Runtime, key: str) -> PageRow:
    """Take a page as over without telling anybody: for one that was resolved by hand at a receiver that is gone.

    Its gaps keep its key, so that nobody is paged of them again.

    Raises:
        NotFound: no page has that key, or it is over already.
        StorageError: MySQL did not answer for as long as retries last.
    """
    with pages_locked(rt.db):
        page = read_page(rt.db, key)
        if page is None or page.state == RESOLVED:
            raise NotFound(f"no open page has the key {key!r}; `gapless pages` lists them")
        closed = replace(page, state=RESOLVED, resolved_ms=int(time.time() * 1000))
        put_page(rt.db, closed)
    return _row(closed, 0)


def _row(page: StoredPage, gaps: int) -> PageRow:
    return PageRow(
        key=page.key,
        kind=page.kind,
        state=page.state,
        summary=page.summary,
        created=iso(page.created_ms),
        sent="" if page.sent_ms is None else iso(page.sent_ms),
        resolved="" if page.resolved_ms is None else iso(page.resolved_ms),
        told=tuple(sorted(page.detail.told)),
        gaps=gaps,
        facts=page.detail.facts,
        link=page.detail.link,
        runbook=page.detail.runbook,
    )
