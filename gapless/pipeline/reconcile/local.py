"""Which bars neither store holds, without asking the exchange: counted, and looked at one by one where a count falls
short. A look of a quarter of a second over a day of 600 symbols, before any request is spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.grid import Opens, lived, points
from gapless.domain.interval import Interval
from gapless.domain.keys import opens_by_series
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.backfill.pieces import Series
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql.archive import read_archive_days
from gapless.storage.mysql.scan import count_bars, read_opens_by_symbol

Key = tuple[str, Interval]


def scan(rt: Runtime, series: Sequence[Series], window: Window) -> dict[Key, Opens]:
    """The open times (ms, ascending) at which a bar is expected and neither MySQL nor the lake has one.

    A series that lacks none is absent. Exact: a count is believed only where every stored bar of the window must be
    an expected one, which is so inside a life, because a load takes bars of the grid alone and each once.

    Args:
        series: of bars; expected is what lies in their lives.
        window: of open times, over by the exchange's clock.

    Raises:
        StorageError: MySQL or the lake did not answer for as long as retries last.
    """
    wanted = {(one.symbol, one.interval): one for one in series if one.interval is not None}
    symbols, intervals = {symbol for symbol, _ in wanted}, {interval for _, interval in wanted}
    whole = {interval: len(interval.opens(window)) for interval in intervals}
    # MySQL first, as in reading bars: rows leave it for the lake, never the other way.
    counts = count_bars(rt.db, EXCHANGE, window, symbols, intervals)
    missing = {
        key: points(lived(one.lives, window, key[1].ms), key[1].ms)
        for key, one in wanted.items()
        if counts.get(key, 0) < whole[key[1]] or not _lives_through(one, window)
    }
    for held in (_opens_of_mysql(rt, missing, counts, window), _opens_of_lake(rt, missing, window)):
        for key, opens in held:
            missing[key] = np.setdiff1d(missing[key], opens, assume_unique=True)
    return {key: opens for key, opens in missing.items() if len(opens)}


def _lives_through(series: Series, window: Window) -> bool:
    """Whether a bar is expected at every grid point of the window."""
    return any(life.covers(window) for life in series.lives)


def _opens_of_mysql(
    rt: Runtime, short: Mapping[Key, Opens], counts: Mapping[Key, int], window: Window
) -> Iterable[tuple[Key, Opens]]:
    symbols: dict[Interval, list[str]] = defaultdict(list)
    for (symbol, interval), opens in short.items():
        if len(opens) and counts.get((symbol, interval)):
            symbols[interval].append(symbol)
    for interval, names in symbols.items():
        for symbol, opens in read_opens_by_symbol(rt.db, EXCHANGE, names, interval, window).items():
            yield (symbol, interval), opens


def _opens_of_lake(rt: Runtime, missing: dict[Key, Opens], window: Window) -> Iterable[tuple[Key, Opens]]:
    """Of days that the lake holds whole without reading them, of others by their rows; of what MySQL lacks alone."""
    wanted = {key for key, opens in missing.items() if len(opens)}
    if not wanted:
        return
    days = read_archive_days(
        rt.db, Dataset.OHLCV, EXCHANGE, window, {symbol for symbol, _ in wanted}, {str(label) for _, label in wanted}
    )
    read: dict[tuple[Interval, int], list[str]] = defaultdict(list)
    columns = (days["symbol"].to_pylist(), days["interval"].to_pylist(), days["day"].cast("int32").to_pylist())
    for symbol, label, day, rows in zip(*columns, days["rows"].to_pylist(), strict=True):
        key = (symbol, Interval(label))
        whole = Window(day * DAY_MS, (day + 1) * DAY_MS)
        lacking = missing.get(key, np.empty(0, np.int64))
        if not ((lacking >= whole.start_ms) & (lacking < whole.end_ms)).any():
            continue
        if rows >= DAY_MS // key[1].ms:
            yield key, points([whole], key[1].ms)
        else:
            read[key[1], day].append(symbol)
    for (interval, day), names in read.items():
        stretch = Window(day * DAY_MS, (day + 1) * DAY_MS)
        bars = rt.lake.read(stretch, symbols=names, intervals=[interval], exchange=EXCHANGE)
        for (symbol, _), opens in opens_by_series(SHAPES[Dataset.OHLCV], bars).items():
            yield (symbol, interval), opens
