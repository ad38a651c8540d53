"""Content digests of what is stored, by series and UTC day, whichever store the rows lie in; a month at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, Window, iso, next_month
from gapless.pipeline.digest.report import DayDigest, DigestRequest
from gapless.pipeline.read import read_everywhere
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.stored import SeriesMonth, days_within
from gapless.storage.lake.layout import Form, bucket_of, parse_key
from gapless.storage.mysql.days import archived_digests

_UNIT_ROWS = 300_000
"""About how many rows are in memory for each reader."""
_READERS = 2
_HOURS = 24
"""Series with more rows a day lie in objects of a day, until a cold month is written."""
_ROWS_A_DAY = {Dataset.FUNDING: 24, Dataset.METRICS: 288}
_PLACE = {str(interval): place for place, interval in enumerate(ALL_INTERVALS)}


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is read at once: some series of one interval in one window inside a month."""

    interval: str
    window: Window
    months: tuple[SeriesMonth, ...]


def digest_months(rt: Runtime, request: DigestRequest, months: Sequence[SeriesMonth]) -> Iterator[list[DayDigest]]:
    """The digests of one month after another, each by symbol, interval and day.

    Memory: for the rows of a few units, and one line a series and day of a month.

    Args:
        months: as `gapless.pipeline.stored.stored_months` gives them.

    Raises:
        StorageError: a store is away, or an object of the lake is damaged.
    """
    for month_ms, group in groupby(months, key=lambda each: each.month_ms):
        found = {each.key: each for each in _digest_month(rt, request, month_ms, list(group))}
        yield sorted(found.values(), key=lambda each: (each.symbol, _PLACE.get(each.interval, 0), each.key))


def _digest_month(rt: Runtime, request: DigestRequest, month_ms: int, months: list[SeriesMonth]) -> Iterator[DayDigest]:
    window = Window(month_ms, next_month(month_ms)).intersect(request.window)
    if window is None:
        return
    needed = {(each.symbol, each.interval): days_within(each, window) for each in months}
    if request.source == "receipts":
        told = _from_receipts(rt, request, window, months)
        for digest, month in told:
            needed[month.symbol, month.interval] &= ~_bit(month, digest.day)
            yield digest
    work = [unit for interval, group in _by_interval(months) for unit in _units(rt, request.dataset, interval, window, [
        each for each in group if needed[each.symbol, each.interval]
    ], needed)]  # fmt: skip
    with ThreadPoolExecutor(_READERS, "digest") as pool:
        for part in pool.map(lambda unit: _digest_unit(rt, request.dataset, unit), work):
            yield from part


def _by_interval(months: list[SeriesMonth]) -> Iterator[tuple[str, list[SeriesMonth]]]:
    ordered = sorted(months, key=lambda each: (_PLACE.get(each.interval, 0), each.symbol))
    for interval, group in groupby(ordered, key=lambda each: each.interval):
        yield interval, list(group)


def _units(
    rt: Runtime,
    dataset: Dataset,
    interval: str,
    window: Window,
    months: list[SeriesMonth],
    needed: dict[tuple[str, str], int],
) -> Iterator[_Unit]:
    """Cut so that each object of the lake is opened few times: its days one by one, or its months by bucket."""
    if not months:
        return
    a_day = DAY_MS // Interval(interval).ms if interval else _ROWS_A_DAY[dataset]
    stats = rt.lake.objects(EXCHANGE, Interval(interval) if interval else None, window, dataset=dataset)
    forms = {target.form for stat in stats if (target := parse_key(stat.key)) is not None}
    by_day = a_day > _HOURS and (not forms or Form.DAYS in forms)
    for piece in window.split(DAY_MS) if by_day else [window]:
        here = [each for each in months if needed[each.symbol, each.interval] & days_within(each, piece)]
        if not by_day:
            here.sort(key=lambda each: (bucket_of(each.symbol), each.symbol))
        days = -(-piece.length_ms // DAY_MS)
        at_once = max(1, _UNIT_ROWS // (a_day * days))
        for at in range(0, len(here), at_once):
            yield _Unit(interval, piece, tuple(here[at : at + at_once]))


def _digest_unit(rt: Runtime, dataset: Dataset, unit: _Unit) -> list[DayDigest]:
    names = [each.symbol for each in unit.months]
    rows = read_everywhere(rt, dataset, names, [Interval(unit.interval)] if unit.interval else None, unit.window)
    told = digests(rows, SHAPES[dataset])[1]
    return [DayDigest(each.symbol, each.interval, each.day, each.rows, each.sha256) for each in told]


def _from_receipts(
    rt: Runtime, request: DigestRequest, window: Window, months: list[SeriesMonth]
) -> Iterator[tuple[DayDigest, SeriesMonth]]:
    """The days that lie in the window whole and in the lake alone."""
    if request.dataset is Dataset.FUNDING:
        return  # the books keep one digest a symbol and day, and rate types are digested apart: the rows are read
    series = {(each.symbol, each.interval): each for each in months}
    symbols, intervals = {each.symbol for each in months}, {each.interval for each in months}
    whole = Window(window.start_ms - window.start_ms % DAY_MS, window.end_ms + -window.end_ms % DAY_MS)
    found = archived_digests(rt.db, request.dataset, EXCHANGE, whole, symbols, intervals)
    for row in found.to_pylist():
        label = row["interval"] if request.dataset is Dataset.OHLCV else ""
        month = series.get((row["symbol"], label))
        digest = DayDigest(row["symbol"], row["interval"], row["day"].isoformat(), row["rows"], row["sha256"])
        if month is None:
            continue
        start = month.month_ms + (row["day"].day - 1) * DAY_MS
        if not month.mysql & _bit(month, digest.day) and window.covers(Window(start, start + DAY_MS)):
            yield digest, month


def _bit(month: SeriesMonth, day: str) -> int:
    assert iso(month.month_ms)[:7] == day[:7]  # noqa: S101 - both are of the month at hand
    return 1 << (int(day[8:]) - 1)
