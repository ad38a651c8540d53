"""Columns for the tests of the daily rules: a calm made market, and real recordings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather

from gapless.domain.instrument import Instrument, Market, market_of
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES, sort_bars
from gapless.domain.window import DAY_MS, Window
from gapless.quality.daily.columns import Columns

DAY = Window.of("2026-11-14", "2026-11-15")
TICK = Decimal("0.01")


def instrument(symbol: str, *, tick: Decimal | None = TICK, multiplier: int = 1) -> Instrument:
    base, _, rest = symbol.partition("/")
    quote = rest.partition(":")[0]
    return Instrument(
        "binance", symbol, market_of(symbol) or Market.SPOT, f"{base}{quote}", base, quote, "TRADING",
        tick_size=tick, contract_multiplier=multiplier,
    )  # fmt: skip


def calm(
    symbol: str = "BTC/USDT",
    interval: Interval = Interval.M1,
    window: Window = DAY,
    *,
    before: int = 120,
    price: float = 100.0,
    move: float = 0.0005,
    wicks: int = 1,
    seed: int = 7,
) -> pa.Table:
    """A market that goes its small ways: every bar opens where the one before closed; prices in cents."""
    count = before + window.length_ms // interval.ms
    random = np.random.default_rng(seed)
    walk = price * np.exp(np.cumsum(random.normal(0, move, count + 1)))
    cents = np.round(walk * 100).astype(np.int64)
    opened, closed = cents[:-1], cents[1:]
    wick = wicks * random.integers(0, 1 + max(1, int(price * move * 100)), (2, count))
    volume = random.integers(1_000, 100_000, count)
    opens = window.start_ms + (np.arange(count) - before) * interval.ms
    values = {
        "open": opened, "high": np.maximum(opened, closed) + wick[0], "low": np.minimum(opened, closed) - wick[1],
        "close": closed, "volume": volume, "quote_volume": volume * 100, "trades": random.integers(1, 500, count),
        "taker_buy_volume": volume // 2, "taker_buy_quote_volume": volume * 50,
    }  # fmt: skip
    return table(symbol, interval, opens.tolist(), values)


def table(symbol: str, interval: Interval, opens: Sequence[int], values: Mapping[str, Any]) -> pa.Table:
    """Canonical bars; amounts and prices in hundredths."""
    count = len(opens)
    columns: dict[str, pa.Array] = {
        "exchange": pa.repeat("binance", count),
        "symbol": pa.repeat(symbol, count),
        "interval": pa.repeat(str(interval), count),
        "ts": pa.array(opens, pa.int64()).cast(OHLCV.field("ts").type),
        "source": pa.array([1] * count, pa.uint8()),
    }
    for name in OHLCV_VALUES:
        kind = OHLCV.field(name).type
        numbers = np.asarray(values[name]).tolist()
        exact = [Decimal(number).scaleb(-2) for number in numbers] if pa.types.is_decimal(kind) else numbers
        columns[name] = pa.array(exact, kind)
    return pa.table([columns[name] for name in OHLCV.names], schema=OHLCV)


def change(bars: pa.Table, row: int, **values: Any) -> pa.Table:
    """The same bars with some values of one row changed; a function is given the value it changes."""
    for name, value in values.items():
        field = bars.schema.field(name)
        column = bars[name].to_pylist()
        column[row] = value(column[row]) if callable(value) else value
        bars = bars.set_column(bars.schema.get_field_index(name), field, pa.array(column, field.type))
    return bars


def untraded(bars: pa.Table, row: int) -> pa.Table:
    """The row as the exchange makes a bar in which nothing was traded."""
    close = bars["close"][row - 1].as_py()
    zero = dict.fromkeys(("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), Decimal(0))
    return change(bars, row, open=close, high=close, low=close, close=close, trades=0, **zero)


def without(bars: pa.Table, *rows: int) -> pa.Table:
    return bars.take([row for row in range(bars.num_rows) if row not in rows])


def columns(
    *parts: pa.Table,
    day: Window = DAY,
    instruments: Sequence[Instrument] = (),
    interval: Interval = Interval.M1,
) -> Columns:
    bars = sort_bars(pa.concat_tables([OHLCV.empty_table(), *parts])).combine_chunks()
    known = {name: instrument(name) for name in bars["symbol"].unique().to_pylist()}
    return Columns(bars, interval, day, known | {each.symbol: each for each in instruments})


def recorded(folder: Path) -> dict[str, tuple[pa.Table, Interval]]:
    """Every recording of bars, by file name; what a recording lacks (trades, taker volume) is made up from volume."""
    found: dict[str, tuple[pa.Table, Interval]] = {}
    for path in sorted((folder / "klines_1m" / "um_futures_vision_csv").glob("*.csv")):
        kinds = {name: OHLCV.field(name).type for name in OHLCV_VALUES if name != "trades"}
        month = pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=kinds))
        values = {name: month[name] for name in kinds} | {"trades": month["count"].cast(pa.uint32())}
        symbol = path.name.split("USDT")[0] + "/USDT:USDT"
        found[path.name] = (_canonical(symbol, Interval.M1, month["open_time"], values), Interval.M1)
    for path in sorted(folder.glob("klines_*/spot_ccxt_json/*.json")):
        rows = np.array(json.loads(path.read_text()), np.float64)
        interval = Interval(path.stem.rsplit("-", 1)[1])
        symbol = path.stem.rsplit("-", 1)[0].replace("_", "/")
        named = dict(zip(("open", "high", "low", "close", "volume"), rows[:, 1:6].T, strict=True))
        found[path.name] = (_rounded(symbol, interval, rows[:, 0].astype(np.int64), named), interval)
    for path in sorted(folder.glob("klines_5m/um_futures_ccxt_feather/*.feather")):
        stored = feather.read_table(path)
        opens = stored["date"].cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
        named = {name: stored[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
        found[path.name] = (_rounded("BTC/USDT:USDT", Interval.M5, opens, named), Interval.M5)
    return found


def days_of(bars: pa.Table, interval: Interval, before: int, after: int) -> list[tuple[Window, pa.Table]]:
    """Each UTC day, with so many bars of neighbourhood."""
    ts = bars["ts"].cast(pa.int64()).to_numpy()
    days = np.unique(ts // DAY_MS)
    found = []
    for day in days.tolist():
        window = Window(day * DAY_MS, (day + 1) * DAY_MS)
        start = window.start_ms - min(before * interval.ms, max(30 * DAY_MS, interval.ms))
        first, last = np.searchsorted(ts, [start, window.end_ms + min(after * interval.ms, DAY_MS)])
        found.append((window, bars.slice(int(first), int(last - first))))
    return found


def _rounded(symbol: str, interval: Interval, opens: Any, values: Mapping[str, Any]) -> pa.Table:
    exact: dict[str, Any] = {}
    for name, column in values.items():
        kind = OHLCV.field(name).type
        exact[name] = pa.array([round(Decimal(repr(float(value))), 8) for value in column], kind)
    volume = np.asarray(values["volume"], np.float64)
    exact["trades"] = pa.array(np.ceil(volume * 10).astype(np.uint32))
    for name in ("quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
        exact[name] = exact["volume"]
    return _canonical(symbol, interval, pa.array(opens), exact)


def _canonical(symbol: str, interval: Interval, opens: Any, values: Mapping[str, Any]) -> pa.Table:
    count = len(opens)
    named = {
        "exchange": pa.repeat("binance", count), "symbol": pa.repeat(symbol, count),
        "interval": pa.repeat(str(interval), count), "ts": opens.cast(pa.int64()).cast(OHLCV.field("ts").type),
        "source": pa.array([2] * count, pa.uint8()), **values,
    }  # fmt: skip
    return pa.table([named[name] for name in OHLCV.names], schema=OHLCV).combine_chunks()
