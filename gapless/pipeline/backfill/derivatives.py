"""One month of one symbol of funding rates or of metrics, from every source that may have it."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
import pyarrow.compute as pc

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, HOUR_MS, Window, next_month
from gapless.errors import BadSymbol, ExchangeError
from gapless.exchanges.binance.series_rest import METRICS_KEPT_MS, fetch_funding, fetch_metrics
from gapless.exchanges.binance.series_rows import ParsedRows
from gapless.exchanges.binance.vision.objects import ArchiveObject, day_object, month_object, published_by_ms
from gapless.pipeline.backfill.archive import KINDS
from gapless.pipeline.backfill.bars import OpensStored, failure_of
from gapless.pipeline.backfill.desk import Desk
from gapless.pipeline.backfill.files import parsed_rows, parser_of
from gapless.pipeline.backfill.outcome import NOBODY_HAS_IT, Hole, Outcome, open_times
from gapless.pipeline.backfill.pieces import Piece
from gapless.quality.funding import count_missing_settlements, missing_settlements

_EDGE_MS = 2 * HOUR_MS


async def take_funding(desk: Desk, piece: Piece, _stored: OpensStored) -> Outcome:
    """A month's settlements: the month's file, and REST where there is none or where it has holes.

    What is expected follows from the settlements themselves: see `gapless.quality.funding`.

    Raises:
        StorageError: the store did not answer.
    """
    outcome = Outcome(piece, np.empty(0, np.int64))
    try:
        if desk.source != "rest" and next_month(piece.month_ms) <= desk.now_ms:
            await _take(desk, outcome, month_object(Market.UM, KINDS[Dataset.FUNDING], piece.raw_symbol, None,
                                                    piece.month_ms), "month")  # fmt: skip
        if desk.source != "vision" and (_holes(outcome) or not outcome.rows.num_rows):
            await _funding_by_rest(desk, outcome)
    except ExchangeError as error:
        outcome.failures.append(failure_of(piece, error))
    lived = np.zeros(outcome.row_count, np.bool_)
    for life in piece.series.lives:
        lived |= (outcome.opens >= life.start_ms) & (outcome.opens < life.end_ms)
    outcome.expected = np.unique(outcome.opens[lived])
    asked = desk.source != "vision" and not outcome.failures
    state, cause = (
        ("unfillable", outcome.why_denied or NOBODY_HAS_IT)
        if asked
        else ("open", "REST was not asked, or did not answer")
    )
    outcome.told = [Hole(window, rows, state, cause) for window, rows in _holes(outcome)]
    return outcome


async def take_metrics(desk: Desk, piece: Piece, stored: OpensStored) -> Outcome:
    """A month's five-minute metrics: the days' files, and REST for what they lack of the last thirty days.

    Raises:
        StorageError: the store did not answer.
    """
    outcome = Outcome(piece, piece.expected)
    outcome.why_denied = f"no archive file has it, and REST keeps only {METRICS_KEPT_MS // DAY_MS} days"
    try:
        if desk.source != "rest":
            days = np.unique(outcome.expected // DAY_MS).tolist()
            objects = [day_object(Market.UM, KINDS[Dataset.METRICS], piece.raw_symbol, None, d * DAY_MS) for d in days]
            wanted = [obj for obj in objects if published_by_ms(obj) <= desk.now_ms]
            for at in range(0, len(wanted), 8):
                await asyncio.gather(*(_take(desk, outcome, obj, "day") for obj in wanted[at : at + 8]))
        if len(outcome.missing):
            loop = asyncio.get_running_loop()
            outcome.stored = await loop.run_in_executor(desk.threads, stored, piece)
        if desk.source != "vision" and len(outcome.missing):
            await _metrics_by_rest(desk, outcome)
            left, edge_ms = outcome.missing, desk.now_ms - METRICS_KEPT_MS
            # What REST is about to forget was not asked for (`fetch_metrics`): nobody has denied it yet.
            outcome.deny(left[(left < edge_ms) | (left >= edge_ms + _EDGE_MS)])
    except ExchangeError as error:
        outcome.failures.append(failure_of(piece, error))
    return outcome


async def _take(desk: Desk, outcome: Outcome, obj: ArchiveObject, kind: str) -> None:
    piece = outcome.piece
    taken = await desk.file(obj, piece, parser_of(piece))
    if taken is not None:
        outcome.take(taken, kind)


async def _funding_by_rest(desk: Desk, outcome: Outcome) -> None:
    piece = outcome.piece
    try:
        ask = partial(fetch_funding, raw_symbol=piece.raw_symbol, symbol=piece.series.symbol, window=piece.window)
        found = await desk.ask(Market.UM, ask)
    except BadSymbol:
        if desk.source == "rest" or not outcome.rows.num_rows:
            raise
        outcome.why_denied = "the archive lacks it, and the exchange no longer knows the symbol"
        return
    _add(desk, outcome, found, f"{piece.raw_symbol} funding by REST")


async def _metrics_by_rest(desk: Desk, outcome: Outcome) -> None:
    """REST refuses what is older than thirty days: only the rest is asked for."""
    piece, missing = outcome.piece, outcome.missing
    oldest_ms = desk.now_ms - METRICS_KEPT_MS
    recent = missing[missing >= oldest_ms]
    if not len(recent):
        return
    window = Window(int(recent[0]), int(recent[-1]) + 1)
    ask = partial(fetch_metrics, raw_symbol=piece.raw_symbol, symbol=piece.series.symbol, window=window)
    found = await desk.ask(Market.UM, ask)
    _add(desk, outcome, found, f"{piece.raw_symbol} metrics by REST")


def _add(desk: Desk, outcome: Outcome, found: ParsedRows, what: str) -> None:
    parsed = parsed_rows(outcome.piece, found)
    outcome.add(parsed.rows, "rest")
    outcome.refused += parsed.refused
    desk.watch.object_done(what, 0)


def _holes(outcome: Outcome) -> list[tuple[Window, int]]:
    """Stretches in which settlements must have been and are not at hand, with how many at the least."""
    piece, rows = outcome.piece, outcome.rows
    regular = rows.filter(pc.equal(rows["rate_type"], "Regular"))
    times = open_times(regular)
    hours = np.ma.masked_equal(pc.fill_null(regular["interval_hours"], 0).to_numpy().astype(np.int64), 0)
    found: list[tuple[Window, int]] = []
    for life in piece.series.lives:
        for window in missing_settlements(times, hours, piece.window, life):
            found.append((window, count_missing_settlements(times, hours, window, life)))
    return found
