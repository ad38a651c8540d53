"""One month of one series of bars, from every source that may have it, in order: the month's archive file, the days'
files, REST. What none of them has is proved, bar by bar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

import numpy as np

from gapless.domain.datasets import Dataset
from gapless.domain.grid import Opens, runs
from gapless.domain.interval import Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import DAY_MS, Window, month_start, next_month
from gapless.errors import BadSymbol, ExchangeError
from gapless.exchanges.binance.fetch import Failed, Series, fetch_klines
from gapless.exchanges.binance.paging import PAGE_ROWS
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.vision.objects import ArchiveObject, day_object, month_object, published_by_ms
from gapless.pipeline.backfill.archive import KINDS
from gapless.pipeline.backfill.desk import Desk
from gapless.pipeline.backfill.files import parser_of
from gapless.pipeline.backfill.outcome import Outcome, without
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.normalise import Page, normalise_opened
from gapless.pipeline.runtime import EXCHANGE
from gapless.storage.mysql import RefusedRow

MONTH_FROM_DAYS = 10
"""A month's file is fetched for this many days of it and more; for fewer, the days' files."""

DAILY_FINER_THAN = Interval.H1
"""Of this interval and coarser ones a day's file holds at most 24 rows: one page of REST replaces thirty files."""

OpensStored = Callable[[Piece], Opens]


async def take_bars(desk: Desk, piece: Piece, stored: OpensStored) -> Outcome:
    """A piece's bars, and what is known of those that are missing. Errors of the exchange end up in the outcome.

    Args:
        stored: the open times of the piece that its store holds; asked (in a thread) when something is missing.

    Raises:
        StorageError: the store did not answer.
    """
    outcome = Outcome(piece, piece.expected)
    try:
        if desk.source != "rest":
            await _from_month(desk, outcome)
        if desk.source == "auto" and len(outcome.missing):
            await _look_into_store(desk, outcome, stored)
        if desk.source != "rest" and len(outcome.missing):
            await _from_days(desk, outcome)
        if desk.source != "vision" and len(outcome.missing):
            await _from_exchange(desk, outcome)
        if desk.source != "auto" and (len(outcome.missing) or len(outcome.denied)):
            # A source that is named is asked for everything; what the store held before counts all the same.
            await _look_into_store(desk, outcome, stored)
    except ExchangeError as error:
        outcome.failures.append(failure_of(piece, error))
    _trim_unknown_life(outcome)
    return outcome


async def _look_into_store(desk: Desk, outcome: Outcome, stored: OpensStored) -> None:
    loop = asyncio.get_running_loop()
    outcome.stored = await loop.run_in_executor(desk.threads, stored, outcome.piece)


def failure_of(piece: Piece, error: ExchangeError) -> Failure:
    """An error of the exchange as the report names it."""
    return Failure(piece.series.symbol, piece.series.label, str(piece.window), error.kind, str(error))


async def _from_month(desk: Desk, outcome: Outcome) -> None:
    """The month's file, when most of what the month has is wanted and the month is over."""
    piece = outcome.piece
    month = Window(month_start(piece.window.start_ms), next_month(piece.window.start_ms))
    worth = min(MONTH_FROM_DAYS, _days_of_life(outcome))
    if month.end_ms <= desk.now_ms and len(outcome.expected) and _days(outcome.expected) >= worth:
        outcome.archive_asked = True
        await _take_object(desk, outcome, _month_object(piece), "month")


async def _from_days(desk: Desk, outcome: Outcome, *, every: bool = False) -> None:
    """The days' files of every day that lacks a bar and can have a file.

    Args:
        every: of intervals, too, that are otherwise left to REST.
    """
    piece, interval = outcome.piece, _interval(outcome.piece)
    if desk.source == "auto" and interval.ms >= DAILY_FINER_THAN.ms and not every:
        return
    outcome.archive_asked = True
    objects = [_day_object(piece, day) for day in np.unique(outcome.missing // DAY_MS).tolist()]
    wanted = [obj for obj in objects if published_by_ms(obj) <= desk.now_ms]
    for at in range(0, len(wanted), 8):
        await asyncio.gather(*(_take_object(desk, outcome, obj, "day") for obj in wanted[at : at + 8]))


async def _take_object(desk: Desk, outcome: Outcome, obj: ArchiveObject, kind: str) -> None:
    taken = await desk.file(obj, outcome.piece, parser_of(outcome.piece))
    if taken is not None:
        outcome.take(taken, kind)


async def _from_exchange(desk: Desk, outcome: Outcome) -> None:
    """REST for what is missing; what it does not have either is denied."""
    piece, interval, market = outcome.piece, _interval(outcome.piece), outcome.piece.series.market
    try:
        desk.refuse_forgotten(market, piece.raw_symbol)
        for span in spans(outcome.missing, interval.ms, PAGE_ROWS[market]):
            wanted = outcome.missing
            wanted = wanted[(wanted >= span.start_ms) & (wanted < span.end_ms)]
            alone = len(wanted) * interval.ms == span.length_ms
            worth_asking = alone and len(wanted) > 1 and desk.source == "auto"
            if worth_asking and await desk.ask(market, partial(proved_empty, piece=piece, span=span)):
                outcome.deny(wanted)
                continue
            pages = await desk.ask(market, partial(read_pages, piece=piece, span=span))
            await _take_pages(desk, outcome, span, pages)
            outcome.deny(without(wanted, outcome.opens))
    except BadSymbol as error:
        desk.forgotten[market, piece.raw_symbol] = error
        if desk.source == "rest":
            raise
        # The archive may still have an instrument that the exchange has forgotten, and is now asked for every day that
        # lacks a bar, however few they are; what it lacks as well, nobody can give.
        await _from_days(desk, outcome, every=True)
        outcome.forgotten = True
        outcome.why_denied = "the archive lacks it, and the exchange no longer knows the symbol"
        outcome.deny(outcome.missing)


async def proved_empty(rest: BinanceRest, piece: Piece, span: Window) -> bool:
    """One request with both times and limit 1 proves a stretch empty, however long it is (reference, section 12)."""
    body = await rest.klines(piece.raw_symbol, _interval(piece), span.start_ms, span.end_ms - 1, 1)
    return body.strip() == "[]"


async def read_pages(rest: BinanceRest, piece: Piece, span: Window) -> list[Page]:
    """What REST has of a piece's bars in `span`, page by page, as received.

    Raises:
        ExchangeError: a page could not be had.
    """
    interval = _interval(piece)
    series = Series(piece.series.symbol, piece.raw_symbol, interval, range(span.start_ms, span.end_ms, interval.ms))
    pages: list[Page] = []
    async with aclosing(fetch_klines(rest, [series])) as results:
        async for result in results:
            if isinstance(result, Failed):
                raise result.error
            page = result.page
            pages.append(Page(series.symbol, interval, page.start_ms, page.end_ms, result.body))
    return pages


async def _take_pages(desk: Desk, outcome: Outcome, span: Window, pages: list[Page]) -> None:
    piece, interval = outcome.piece, _interval(outcome.piece)
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(desk.threads, normalise_opened, EXCHANGE, pages, span)
    outcome.add(found.bars, "rest")
    outcome.refused += [
        RefusedRow(EXCHANGE, row.symbol, row.interval, row.ts, row.reason, row.payload) for row in found.quarantined
    ]
    desk.watch.object_done(f"{piece.raw_symbol}-{interval} by REST", sum(len(page.body) for page in pages))


def spans(missing: Opens, step_ms: int, page_rows: int) -> list[Window]:
    """What to ask REST for: runs of missing bars, those that one page can hold together at once."""
    joined: list[Window] = []
    for run in runs(missing, step_ms):
        if joined and run.end_ms - joined[-1].start_ms <= page_rows * step_ms:
            joined[-1] = Window(joined[-1].start_ms, run.end_ms)
        else:
            joined.append(run)
    return joined


def _trim_unknown_life(outcome: Outcome) -> None:
    """Where a life's beginning or end is not the exchange's word, nothing is expected beyond what rows show."""
    series = outcome.piece.series
    if series.first_known and series.last_known:
        return
    held = np.union1d(outcome.opens, outcome.stored)
    if not len(held):
        outcome.expected = outcome.expected[:0]
        return
    keep = np.ones(len(outcome.expected), np.bool_)
    if not series.first_known:
        keep &= outcome.expected >= held[0]
    if not series.last_known:
        keep &= outcome.expected <= held[-1]
    outcome.expected = outcome.expected[keep]


def _interval(piece: Piece) -> Interval:
    assert piece.series.interval is not None  # noqa: S101 - bars have one; the type is shared with other datasets
    return piece.series.interval


def _days(opens: Opens) -> int:
    return len(np.unique(opens // DAY_MS))


def _days_of_life(outcome: Outcome) -> int:
    """Days of the whole month in which the series lives: a month that holds its listing has only so many."""
    piece = outcome.piece
    month = Window(month_start(piece.window.start_ms), next_month(piece.window.start_ms))
    lived = [part for life in piece.series.lives if (part := life.intersect(month)) is not None]
    return max(1, sum(-(-part.length_ms // DAY_MS) for part in lived) * 9 // 10)


def _month_object(piece: Piece) -> ArchiveObject:
    return month_object(
        piece.series.market, KINDS[Dataset.OHLCV], piece.raw_symbol, piece.series.interval, piece.month_ms
    )


def _day_object(piece: Piece, day: int) -> ArchiveObject:
    return day_object(piece.series.market, KINDS[Dataset.OHLCV], piece.raw_symbol, piece.series.interval, day * DAY_MS)
