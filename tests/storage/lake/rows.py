"""Funding and metrics for the lake's tests: seeded rows with nulls, the same ones each time."""

from __future__ import annotations

import hashlib
import random
from decimal import Decimal

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.schema import Source
from gapless.domain.window import parse_time


def funding(symbol: str, start: str, count: int, *, source: Source = Source.REST, **values: object) -> pa.Table:
    """Settlements every eight hours; `values` are the same in all rows (`mark_price=None`)."""
    rng = random.Random(hashlib.sha256(f"{symbol}{start}".encode()).digest())
    rows = []
    for number in range(count):
        ts = parse_time(start) + number * 28_800_000
        rows.append(
            {
                "exchange": "binance", "symbol": symbol, "rate_type": "Regular", "ts": ts,
                "exchange_ts": ts + rng.randint(0, 20), "rate": Decimal(rng.randint(-(10**9), 10**9)).scaleb(-12),
                "interval_hours": 8, "mark_price": Decimal(rng.randint(1, 10**13)).scaleb(-8), "source": int(source),
            }
            | values
        )  # fmt: skip
    return table(Dataset.FUNDING, rows)


def metrics(symbol: str, start: str, count: int, *, source: Source = Source.VISION, blanks: bool = True) -> pa.Table:
    """Five-minute rows; with `blanks`, one value in ten is null."""
    rng = random.Random(hashlib.sha256(f"{symbol}{start}".encode()).digest())
    shape = SHAPES[Dataset.METRICS]
    rows: list[dict[str, object]] = []
    for number in range(count):
        row: dict[str, object] = {"exchange": "binance", "symbol": symbol, "ts": parse_time(start) + number * 300_000}
        for name in shape.values:
            value, blank = rng.randint(0, 10**15), rng.random() < 0.1
            row[name] = None if blank and blanks else Decimal(value).scaleb(-shape.schema.field(name).type.scale)
        rows.append(row | {"source": int(source)})
    return table(Dataset.METRICS, rows)


def table(dataset: Dataset, rows: list[dict[str, object]]) -> pa.Table:
    """Canonical rows of plain values, times in milliseconds."""
    schema = SHAPES[dataset].schema
    return pa.Table.from_arrays([pa.array([row[f.name] for row in rows], f.type) for f in schema], schema=schema)
