"""Bars for the loader's tests: any number of them, reproducible, with values at the edges of what the columns hold."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES, Source, content_digest, sort_bars
from gapless.domain.window import Window
from gapless.storage.mysql import Draft, Scope

DAY = Window.of("2026-11-19", "2026-11-20")
HOUR = Window.of("2026-11-19T10:00", "2026-11-19T11:00")


def make_bars(
    symbols: Sequence[str],
    window: Window,
    intervals: Sequence[Interval] = (Interval.M1,),
    *,
    seed: int = 0,
    source: Source = Source.REST,
) -> pa.Table:
    """Every bar that opens in the window, with random exact values, a tenth of them tiny (`1E-8`) or zero."""
    keys = [(s, str(i), ts) for s in symbols for i in intervals for ts in i.opens(window)]
    random = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {
        "exchange": pa.repeat("binance", len(keys)),
        "symbol": pa.array([key[0] for key in keys], pa.string()),
        "interval": pa.array([key[1] for key in keys], pa.string()),
        "ts": pa.array([key[2] for key in keys], pa.int64()).cast(OHLCV.field("ts").type),
        "source": pa.array([int(source)] * len(keys), pa.uint8()),
    }
    for name in OHLCV_VALUES:
        kind = OHLCV.field(name).type
        if pa.types.is_decimal(kind):
            units = random.integers(1, 10**18, len(keys))
            units = np.where(random.random(len(keys)) < 0.1, units % 3, units)
            columns[name] = pa.array([Decimal(int(unit)).scaleb(-8) for unit in units], kind)
        else:
            columns[name] = pa.array(random.integers(0, 2**32, len(keys)), kind)
    return sort_bars(pa.table([columns[name] for name in OHLCV.names], schema=OHLCV))


def with_value(bars: pa.Table, row: int, name: str, value: object) -> pa.Table:
    """The same bars with one value changed."""
    values = bars[name].to_pylist()
    values[row] = value
    return bars.set_column(
        bars.schema.get_field_index(name), bars.schema.field(name), pa.array(values, bars.schema.field(name).type)
    )


def with_source(bars: pa.Table, source: Source) -> pa.Table:
    """The same bars from another source."""
    place = bars.schema.get_field_index("source")
    return bars.set_column(place, OHLCV.field("source"), pa.array([int(source)] * bars.num_rows, pa.uint8()))


def draft_for(bars: pa.Table, window: Window = DAY, *, key: str = "0123456789abcdef", complete: bool = True) -> Draft:
    """What a pipeline would say of these bars."""
    symbols, intervals = bars["symbol"].to_pylist(), bars["interval"].to_pylist()
    return Draft(
        batch_key=key,
        exchange="binance",
        market=Market.UM if ":" in symbols[0] else Market.SPOT,
        window=window,
        scope=Scope.of(set(zip(symbols, intervals, strict=True))),
        complete=complete,
        digest=content_digest(bars),
    )
