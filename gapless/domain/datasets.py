"""The datasets with a history: their canonical columns, what makes a row one of a kind, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_KEY, OHLCV_VALUES, PRICE, TIMESTAMP


class Dataset(StrEnum):
    """A kind of data. The value is the name of its table in MySQL and of its folder in the lake."""

    OHLCV = "ohlcv"
    FUNDING = "funding_rate"
    METRICS = "futures_metrics"


FUNDING_RATE = pa.decimal128(20, 12)
OPEN_INTEREST = pa.decimal128(38, 14)
RATIO = pa.decimal128(24, 10)

FUNDING_COLUMNS = pa.schema(
    [
        pa.field("exchange", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("rate_type", pa.string(), nullable=False),  # `Regular`, or `Special` (stock dividends, since 2026-07)
        pa.field("ts", TIMESTAMP, nullable=False),  # nominal settlement: the exchange's own time to the nearest minute
        pa.field("exchange_ts", TIMESTAMP, nullable=False),  # the exchange's own, a few milliseconds late
        pa.field("rate", FUNDING_RATE, nullable=False),
        pa.field("interval_hours", pa.uint8(), nullable=True),  # the archive says it, REST does not
        pa.field("mark_price", PRICE, nullable=True),  # REST says it, the archive does not
        pa.field("source", pa.uint8(), nullable=False),
    ]
)
"""Funding settlements, sorted by symbol, rate type, ts."""

METRICS_COLUMNS = pa.schema(
    [
        pa.field("exchange", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("ts", TIMESTAMP, nullable=False),  # start of the five minutes, whatever label the source uses
        pa.field("open_interest", OPEN_INTEREST, nullable=True),  # base asset
        pa.field("open_interest_value", OPEN_INTEREST, nullable=True),  # quote asset
        pa.field("top_account_ratio", RATIO, nullable=True),  # archive: count_toptrader_long_short_ratio
        pa.field("top_position_ratio", RATIO, nullable=True),  # archive: sum_toptrader_long_short_ratio
        pa.field("global_account_ratio", RATIO, nullable=True),  # archive: count_long_short_ratio
        pa.field("taker_buy_sell_ratio", RATIO, nullable=True),  # archive: sum_taker_long_short_vol_ratio
        pa.field("source", pa.uint8(), nullable=False),
    ]
)
"""Open interest and ratios of USD-M perpetuals, five minutes each, sorted by symbol, ts. Blanks of the exchange are
null."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of a dataset look, for every store that keeps them.

    Attributes:
        schema: the canonical columns, in their order.
        key: columns that make a row one of a kind; rows are kept in this order.
        label: the key column between symbol and ts, None where there is none.
        values: columns that are compared when a row is read again. A null against a value is no disagreement: the
            value fills the null in.
        step_ms: the grid of `ts`, None where it is not one fixed grid (bars: by interval; funding: by symbol and time).
    """

    dataset: Dataset
    schema: pa.Schema
    key: tuple[str, ...]
    label: str | None
    values: tuple[str, ...]
    step_ms: int | None

    @property
    def nullable(self) -> frozenset[str]:
        """The values that may be null."""
        return frozenset(name for name in self.values if self.schema.field(name).nullable)


SHAPES = {
    Dataset.OHLCV: Shape(Dataset.OHLCV, OHLCV, OHLCV_KEY, "interval", OHLCV_VALUES, None),
    Dataset.FUNDING: Shape(
        Dataset.FUNDING,
        FUNDING_COLUMNS,
        ("exchange", "symbol", "rate_type", "ts"),
        "rate_type",
        ("exchange_ts", "rate", "interval_hours", "mark_price"),
        None,
    ),
    Dataset.METRICS: Shape(
        Dataset.METRICS,
        METRICS_COLUMNS,
        ("exchange", "symbol", "ts"),
        None,
        tuple(METRICS_COLUMNS.names[3:-1]),
        Interval.M5.ms,
    ),
}


def empty(dataset: Dataset) -> pa.Table:
    """No rows, all columns."""
    return SHAPES[dataset].schema.empty_table()
