"""Bars for tests that need some, the same ones each time: a seeded walk in whole ticks."""

from __future__ import annotations

import hashlib
import random
from decimal import Decimal

import pyarrow as pa

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, Source
from gapless.domain.window import parse_time


def bars(
    symbol: str, interval: str, start: str | int, count: int, *, seed: int = 1, source: Source = Source.REST
) -> pa.Table:
    """`count` closed bars of one series from `start` on, canonical, every rule obeyed; one in ten without trades."""
    name = f"{seed}{symbol}{interval}".encode()
    rng = random.Random(hashlib.sha256(name).digest())
    first = parse_time(start) if isinstance(start, str) else start
    step = Interval(interval).ms
    columns: dict[str, list[object]] = {field.name: [] for field in OHLCV}
    close = rng.randint(1, 10**13)
    for number in range(count):
        opened, flat = close, rng.random() < 0.1
        moves = [0, 0, 0] if flat else [rng.randint(-opened // 50, opened // 50) for _ in range(3)]
        high, low, close = opened + max(0, *moves), opened + min(0, *moves), opened + moves[0]
        volume, quote = (0, 0) if flat else (rng.randint(1, 10**15), rng.randint(1, 10**18))
        values: dict[str, object] = {
            "exchange": "binance", "symbol": symbol, "interval": interval, "ts": first + number * step,
            "open": _exact(opened), "high": _exact(high), "low": _exact(low), "close": _exact(close),
            "volume": _exact(volume), "quote_volume": _exact(quote), "trades": 0 if flat else rng.randint(1, 9999),
            "taker_buy_volume": _exact(rng.randint(0, volume)),
            "taker_buy_quote_volume": _exact(rng.randint(0, quote)), "source": int(source),
        }  # fmt: skip
        for key, value in values.items():
            columns[key].append(value)
    arrays = [pa.array(columns[field.name], field.type) for field in OHLCV]
    return pa.Table.from_arrays(arrays, schema=OHLCV)


def _exact(units: int) -> Decimal:
    return Decimal(units).scaleb(-8)
