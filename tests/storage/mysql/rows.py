"""Funding and metrics for the loader's tests: reproducible, exact, with the blanks that the sources leave."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import HOUR_MS, Window
from gapless.storage.mysql import Draft, Scope

NOVEMBER = Window.of("2026-11-01", "2026-11-03")


def make_rows(
    dataset: Dataset,
    symbols: Sequence[str],
    window: Window = NOVEMBER,
    *,
    seed: int = 0,
    source: Source = Source.VISION,
    blanks: Sequence[str] = (),
) -> pa.Table:
    """Every row of the window in canonical order: funding each eight hours, metrics each five minutes.

    `blanks` are columns that this source never fills.
    """
    shape = SHAPES[dataset]
    times = range(window.start_ms, window.end_ms, shape.step_ms or 8 * HOUR_MS)
    keys = [(symbol, ts) for symbol in sorted(symbols) for ts in times]
    random = np.random.default_rng(seed)
    columns = []
    for field in shape.schema:
        if field.name in blanks:
            columns.append(pa.nulls(len(keys), field.type))
        elif field.name in ("exchange", "rate_type"):
            columns.append(pa.repeat({"exchange": "binance", "rate_type": "Regular"}[field.name], len(keys)))
        elif field.name == "symbol":
            columns.append(pa.array([symbol for symbol, _ in keys], pa.string()))
        elif pa.types.is_timestamp(field.type):
            late = 0 if field.name == "ts" else 7
            columns.append(pa.array([ts + late for _, ts in keys], pa.int64()).cast(field.type))
        elif field.name == "source":
            columns.append(pa.array([int(source)] * len(keys), field.type))
        elif pa.types.is_decimal(field.type):
            units = random.integers(-(10**15), 10**15, len(keys))
            columns.append(pa.array([Decimal(int(unit)).scaleb(-field.type.scale) for unit in units], field.type))
        else:
            columns.append(pa.array([8] * len(keys), field.type))
    return pa.table(columns, schema=shape.schema)


def with_cell(rows: pa.Table, row: int, name: str, value: object) -> pa.Table:
    """The same rows with one value changed."""
    field = rows.schema.field(name)
    values = rows[name].to_pylist()
    values[row] = value
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


def draft_of(rows: pa.Table, dataset: Dataset, *, key: str = "0123456789abcdef", window: Window = NOVEMBER) -> Draft:
    """What the history's engine would say of these rows."""
    return Draft(
        batch_key=key,
        exchange="binance",
        market=Market.UM,
        window=window,
        scope=Scope.of((symbol, "") for symbol in set(rows["symbol"].to_pylist())),
        complete=True,
        digest=sha256(str(rows.to_pydict()).encode()).hexdigest(),
        dataset=f"history:{dataset}",
    )
