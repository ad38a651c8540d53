"""Telling: what became due is paged, what is over is resolved; once, however often and by how many it is done."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace as changed

from gapless.errors import ConfigError
from gapless.monitoring.page import GAP, QUALITY
from gapless.monitoring.pager import NOBODY, receivers_of
from gapless.pipeline.paging.deliver import Delivery
from gapless.pipeline.paging.gap_pages import allot, describe
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.page_book import (
    RESOLVED,
    RESOLVING,
    SENDING,
    SENT,
    PageDetail,
    StoredPage,
    claim_failed_gaps,
    count_untold,
    pages_locked,
    put_page,
    read_page,
    read_pages,
    standing_gaps,
)

_QUALITY_RUNBOOK = "docs/runbooks/quality.md"
_KEY = re.compile(r"[\x21-\x7e]{1,59}")


class PagesReport(msgspec.Struct, frozen=True):
    """What was told.

    Attributes:
        sent: pages that a receiver took for the first time.
        resolved: pages of which every receiver knows now that they are over.
        open: pages that are not over, of any kind.
        unpaged: troubles that nobody was told of: failed gaps, and days of bad quality.
        errors: receivers that were away or refused, a line each; what they missed is due at the next run.
    """

    sent: int = 0
    resolved: int = 0
    open: int = 0
    unpaged: int = 0
    errors: tuple[str, ...] = ()


def tell_of_gaps(rt: Runtime, *, link: str = "") -> PagesReport:
    """Page of every failed gap that nobody was told of, and resolve the pages whose gaps are over.

    Gaps of one dataset and cause that fail within an hour share a page. Other pages that are due are sent too. Two at
    once follow each other; killed anywhere and done again, a receiver hears the same words of the same page.

    Args:
        link: where the run that found them can be seen; stands in new pages.

    Raises:
        StorageError: MySQL is away, or another process tells for longer than receivers are waited for.
        ConfigError: the address of a receiver is wrong.
    """
    return _tell(rt, partial(_settle_gaps, link=link))


def tell_of_quality(
    rt: Runtime, key: str, *, bad: bool, summary: str, detail: Mapping[str, Any], link: str
) -> PagesReport:
    """Page once while something is bad, and resolve that when it is good again.

    Bad again after it was resolved, it is paged again. While no receiver is configured nothing is put on record: one
    that is configured later is not told of days long gone.

    Args:
        key: what it is that is bad, such as `quality:2026-11-20`; at most 59 printable ASCII characters, no spaces.
        detail: plain JSON values for whoever acts.
        link: where the run can be seen; may be empty.

    Raises:
        StorageError: MySQL is away, or another process tells for longer than receivers are waited for.
        ConfigError: the key is not of that form, or the address of a receiver is wrong.
    """
    if not _KEY.fullmatch(key):
        raise ConfigError(f"not a page's key: {key!r}; write at most 59 printable ASCII characters without spaces")
    name = f"demo:{key}" if rt.settings.mode == "demo" else key
    settle = _settle_good if not bad else partial(_settle_bad, summary=summary, facts=dict(detail), link=link)
    return _tell(rt, partial(settle, key=name))


def _tell(rt: Runtime, settle: Callable[..., int]) -> PagesReport:
    """Under the lock: bring the book up to date, then send what it says is due."""
    receivers = receivers_of(rt.settings)
    with pages_locked(rt.db):
        now_ms = int(time.time() * 1000)
        untold = settle(rt, now_ms=now_ms, anybody=bool(receivers))
        delivery = Delivery(rt.db, receivers, now_ms)
        delivery.run()
        still_open = read_pages(rt.db, (SENDING, SENT, RESOLVING))
        untold += count_untold(rt.db) + sum(page.kind != GAP and page.state == SENDING for page in still_open)
    if untold and not receivers:
        rt.say(f"{untold:,} troubles that a person must see to, and {NOBODY}")
    return PagesReport(delivery.sent, delivery.resolved, len(still_open), untold, tuple(delivery.errors))


def _settle_gaps(rt: Runtime, *, link: str, now_ms: int, anybody: bool) -> int:
    """New pages for new failures, if there is anybody to send them to; open ones say what is left, or are over."""
    if anybody:
        claim_failed_gaps(rt.db, partial(allot, source=source_of(rt), link=link, now_ms=now_ms))
    pages = [page for page in read_pages(rt.db, (SENDING, SENT)) if page.kind == GAP]
    standing = standing_gaps(rt.db, [page.key for page in pages])
    for page in pages:
        if gaps := standing.get(page.key):
            current = describe(page, gaps, page.detail.facts["cause"])
        else:
            current = replace(page, state=RESOLVING)
        if current != page:
            put_page(rt.db, current)
    return 0


def _settle_bad(
    rt: Runtime, *, key: str, summary: str, facts: dict[str, Any], link: str, now_ms: int, anybody: bool
) -> int:
    page = read_page(rt.db, key)
    if not anybody:
        return int(page is None or page.state in (RESOLVING, RESOLVED))
    if page is None or page.state == RESOLVED:
        detail = PageDetail(facts, source_of(rt), QUALITY, "binance", link, _QUALITY_RUNBOOK)
        put_page(rt.db, StoredPage(key, QUALITY, summary, detail, SENDING, now_ms))
    elif page.state == RESOLVING:
        # Not every receiver has heard that it was over; whoever has is told anew.
        detail = changed(page.detail, facts=facts, link=link, told={}, cleared=())
        put_page(rt.db, StoredPage(key, QUALITY, summary, detail, SENDING, now_ms))
    else:
        put_page(rt.db, replace(page, summary=summary, detail=changed(page.detail, facts=facts, link=link)))
    return 0


def _settle_good(rt: Runtime, *, key: str, now_ms: int, anybody: bool) -> int:
    page = read_page(rt.db, key)
    if page is not None and page.state in (SENDING, SENT):
        put_page(rt.db, replace(page, state=RESOLVING))
    return 0


def source_of(rt: Runtime) -> str:
    """What tells this installation from others in a page: its database, and whether it shows a generated market."""
    return f"gapless {rt.db.server}" + (" (demonstration)" if rt.settings.mode == "demo" else "")
