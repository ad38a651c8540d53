"""How work is cut: which hours a series still lacks, and batches small enough to hold in memory. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.window import DAY_MS, HOUR_MS, Window
from gapless.storage.mysql import Coverage

BATCH_SYMBOLS = 300
"""Symbols a batch: 600 perpetuals make two, enough for two cores; a task costs a second, whatever it does."""

BATCH_ROWS = 400_000
"""Bars a batch at the most: about 60 MB of payloads, 100 MB as columns."""


def missing_windows(
    wanted: Window, symbols: Iterable[str], intervals: Sequence[Interval], receipts: Sequence[Coverage]
) -> dict[tuple[Window, ...], list[str]]:
    """The whole hours of `wanted` that each symbol has no receipt for; symbols with the same answer together.

    A receipt counts for a symbol when it holds all the intervals. Hours are the pipeline's unit: an hour that is
    covered in part is missing whole.
    """
    useful = [receipt for receipt in receipts if receipt.intervals.issuperset(intervals)]
    groups: dict[tuple[Window, ...], list[str]] = defaultdict(list)
    answers: dict[tuple[int, ...], tuple[Window, ...]] = {}
    for symbol in symbols:
        mine = tuple(number for number, receipt in enumerate(useful) if symbol in receipt.symbols)
        if mine not in answers:
            answers[mine] = tuple(_whole_hours(wanted.subtract(useful[number].window for number in mine), wanted))
        if answers[mine]:
            groups[answers[mine]].append(symbol)
    return dict(groups)


def _whole_hours(windows: Iterable[Window], within: Window) -> Iterator[Window]:
    for window in windows:
        start = window.start_ms - window.start_ms % HOUR_MS
        end = window.end_ms + -window.end_ms % HOUR_MS
        yield Window(max(start, within.start_ms), min(end, within.end_ms))


def cut(
    market: Market,
    instruments: Sequence[Instrument],
    intervals: Sequence[Interval],
    window: Window,
    *,
    max_symbols: int = BATCH_SYMBOLS,
    max_rows: int = BATCH_ROWS,
) -> list[Batch]:
    """One window of some instruments as batches in order of time: at most `max_symbols` and about `max_rows` bars each.

    Cuts in time fall on UTC midnights. A batch is never cut below one day of one symbol (2,000 bars in six intervals).
    """
    chunks = [instruments[at : at + max_symbols] for at in range(0, len(instruments), max_symbols)]
    rows_a_day = sum(DAY_MS // interval.ms for interval in intervals)
    widest = max((len(chunk) for chunk in chunks), default=1)
    days = max(1, max_rows // (rows_a_day * widest))
    if days == 1 and widest * rows_a_day > max_rows and window.length_ms > HOUR_MS:
        size = max(1, max_rows // rows_a_day)
        chunks = [instruments[at : at + size] for at in range(0, len(instruments), size)]
    return [
        Batch(
            exchange=chunk[0].exchange,
            market=market,
            symbols=tuple((instrument.symbol, instrument.raw_symbol) for instrument in chunk),
            intervals=tuple(intervals),
            start_ms=piece.start_ms,
            end_ms=piece.end_ms,
        )
        for piece in window.split(days * DAY_MS)
        for chunk in chunks
    ]


def by_window(batches: Iterable[Batch]) -> Iterator[tuple[Window, list[Batch]]]:
    """Batches grouped by their window, in order of time."""
    groups: Mapping[Window, list[Batch]] = defaultdict(list)
    for batch in batches:
        groups[batch.window].append(batch)
    yield from sorted(groups.items())
