"""Which gaps share a page, and what it says of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count, groupby
from typing import Any

from msgspec.structs import replace as changed

from gapless.domain.datasets import Dataset
from gapless.domain.window import HOUR_MS, iso
from gapless.monitoring.page import GAP
from gapless.storage.mysql.gap_states import Gap
from gapless.storage.mysql.page_book import SENDING, SENT, Claim, PageDetail, StoredPage

TOGETHER_MS = HOUR_MS
"""Gaps that fail so soon after a page of the same dataset and cause join it."""

RUNBOOK = "docs/runbooks/gap.md"
_LISTED = 20
_DATASET_OPTION = {str(Dataset.FUNDING): " --dataset funding", str(Dataset.METRICS): " --dataset metrics"}
_CAUSE_SHOWN = 200


def common_cause(cause: str) -> str:
    """The part of a cause that gaps of one trouble share: what stands before the colon, without the particulars."""
    return " ".join(cause.partition(":")[0].split())[:_CAUSE_SHOWN] or "no cause on record"


def page_key(first: Gap, cause: str, *, origin: str) -> str:
    """The name of the page whose first gap this is: the same for the same gap, wherever and whenever it is made."""
    parts = (origin, first.exchange, first.dataset, first.symbol, first.interval, first.window.start_ms, cause)
    return f"gap-{sha256(chr(0).join(str(part) for part in parts).encode()).hexdigest()[:32]}"


def allot(gaps: Sequence[Gap], pages: Sequence[StoredPage], *, source: str, link: str, now_ms: int) -> list[Claim]:
    """The pages of failed gaps that have none: one for each cause, or the one of that cause that is young or unsent.

    A page that somebody took more than `TOGETHER_MS` ago is not extended: whoever has it would not be called again, and
    the new gaps would be news to nobody.

    Args:
        gaps: of one exchange and dataset, by time, not empty.
        pages: those that are not over.
    """
    claims: list[Claim] = []
    taken = {page.key for page in pages}
    ordered = sorted(gaps, key=lambda gap: common_cause(gap.cause))
    for cause, some in groupby(ordered, key=lambda gap: common_cause(gap.cause)):
        mine = list(some)
        page = _to_join(mine[0], cause, pages, now_ms)
        if page is None:
            key = _free(page_key(mine[0], cause, origin=source), taken)
            taken.add(key)
            detail = PageDetail(
                facts={}, source=source, component=mine[0].dataset, group=mine[0].exchange, link=link, runbook=RUNBOOK
            )
            page = StoredPage(key, GAP, "", detail, SENDING, now_ms)
            page = describe(page, mine, cause)
        else:
            # What it says is made whole when its gaps are read again, before it is sent.
            page = replace(page, detail=changed(page.detail, revision=page.detail.revision + 1))
        claims.append((page, [gap.id for gap in mine]))
    return claims


def describe(page: StoredPage, gaps: Sequence[Gap], cause: str) -> StoredPage:
    """The page as it reads while these of its gaps stand, by time, not empty."""
    first, last = gaps[0], max(gaps, key=lambda gap: gap.window.end_ms)
    rows, series = sum(gap.bars for gap in gaps), len({(gap.symbol, gap.interval) for gap in gaps})
    start, end = iso(first.window.start_ms), iso(last.window.end_ms)
    what = f"{rows:,} missing {'row' if rows == 1 else 'rows'} of "
    if series == 1:
        what += f"{first.symbol} {first.interval}".strip()
    else:
        what += f"{series:,} series"
    summary = f"{first.exchange} {first.dataset}: {what} could not be filled, {start} to {end}: {cause}"
    facts: dict[str, Any] = {
        "cause": cause,
        "last words": first.cause,
        "exchange": first.exchange,
        "dataset": first.dataset,
        "missing rows": rows,
        "series": series,
        "from": start,
        "to": end,
        "attempts": max(gap.attempts for gap in gaps),
        "gaps": [_line(gap) for gap in gaps[:_LISTED]],
    }
    if len(gaps) > _LISTED:
        facts["more gaps"] = len(gaps) - _LISTED
    dataset = _DATASET_OPTION.get(first.dataset, "")
    facts["try again"] = f"gapless gaps --start {start} --end {end}{dataset} --symbols {_symbols(gaps)} --fill"
    return replace(page, summary=summary, detail=changed(page.detail, facts=facts))


def _symbols(gaps: Sequence[Gap]) -> str:
    names = sorted({gap.symbol for gap in gaps})
    return ",".join(names) if len(names) <= _LISTED else "all"


def _line(gap: Gap) -> str:
    name = f"{gap.symbol} {gap.interval}".strip()
    return f"{name} {gap.window} ({gap.bars:,} {'row' if gap.bars == 1 else 'rows'}, {gap.state})"


def _to_join(first: Gap, cause: str, pages: Sequence[StoredPage], now_ms: int) -> StoredPage | None:
    for page in reversed(pages):
        if (
            page.kind == GAP
            and (page.detail.group, page.detail.component) == (first.exchange, first.dataset)
            and page.detail.facts.get("cause") == cause
            and (page.state == SENDING or (page.state == SENT and now_ms - page.created_ms < TOGETHER_MS))
        ):
            return page
    return None


def _free(key: str, taken: set[str]) -> str:
    """The key, or the key with the first number that no open page has: the same hole can be torn anew."""
    if key not in taken:
        return key
    return next(name for number in count(2) if (name := f"{key}-{number}") not in taken)
