"""The canonical shape of each dataset as Arrow schemas, and the text by which installations compare rows."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.source import Source as Source

PRICE = pa.decimal128(20, 8)
VOLUME = pa.decimal128(28, 8)
TIMESTAMP = pa.timestamp("ms", tz="UTC")


# What a source knows, most last. The stream is what was seen in passing. The archive is a copy that the exchange made
# of its records one day. REST is those records as they stand now, and what the exchange is asked whenever it is asked
# whether we hold the truth (docs/decisions/0070).
_KNOWLEDGE = {Source.STREAM: 1, Source.VISION: 2, Source.REST: 3}


def knowledge(source: int) -> int:
    """The rank of a stored source code, for every dataset and every store.

    A row never replaces another of higher rank, whichever came first. Between two of one rank the later read wins: the
    same source has corrected itself. Either way a disagreement leaves a row in `restatement`.

    Raises:
        ValueError: no such code.
    """
    return _KNOWLEDGE[Source(source)]


OHLCV_KEY = ("exchange", "symbol", "interval", "ts")
OHLCV_VALUES = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)
"""The nine values of a bar: what is compared when a bar is read again."""

OHLCV = pa.schema(
    [
        pa.field("exchange", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("ts", TIMESTAMP, nullable=False),  # open time
        pa.field("open", PRICE, nullable=False),
        pa.field("high", PRICE, nullable=False),
        pa.field("low", PRICE, nullable=False),
        pa.field("close", PRICE, nullable=False),
        pa.field("volume", VOLUME, nullable=False),  # base asset
        pa.field("quote_volume", VOLUME, nullable=False),
        pa.field("trades", pa.uint32(), nullable=False),
        pa.field("taker_buy_volume", VOLUME, nullable=False),
        pa.field("taker_buy_quote_volume", VOLUME, nullable=False),
        pa.field("source", pa.uint8(), nullable=False),
    ]
)
"""Canonical bars. Sorted by symbol, interval, ts wherever they rest."""


def sort_bars(bars: pa.Table) -> pa.Table:
    """Canonical order: exchange, symbol, interval (by name), ts."""
    return bars.sort_by([(name, "ascending") for name in OHLCV_KEY])


def content_digest(bars: pa.Table) -> str:
    """sha256 (hex) over the canonical text of the bars, sorted by key.

    One line a bar: the four key columns (`ts` as integer milliseconds) and the nine values, comma-separated, decimals
    with all their eight places, ended by a newline. `source` is left out: it says how a bar came, not what it is.
    Two installations that hold the same bars have the same digest.
    """
    ordered = sort_bars(bars).combine_chunks()
    columns = [ordered["exchange"], ordered["symbol"], ordered["interval"]]
    columns.append(ordered["ts"].cast(pa.int64()).cast(pa.string()))
    columns.extend(decimal_text(ordered[name]) for name in OHLCV_VALUES)
    lines = pc.binary_join_element_wise(*columns, ",")
    text = "".join(f"{line}\n" for line in lines.to_pylist())
    return hashlib.sha256(text.encode()).hexdigest()


def decimal_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text; decimals in plain notation with every place of their scale.

    Arrow writes small decimals as `1E-8` and zero as `0E-8`. Adding a power of ten above any value keeps it from doing
    so; that digit and the zeros behind it are then cut off again.
    """
    text = column.cast(pa.string())
    if not pa.types.is_decimal128(column.type):
        return text
    scientific = pc.match_substring(text, "E")
    if not pc.any(scientific).as_py():
        return text
    scale = column.type.scale
    small = column.filter(scientific).cast(pa.decimal128(36, scale))
    negative = pc.less(small, pa.scalar(Decimal(0), small.type))
    lifted = pc.add(pc.abs(small), pa.scalar(Decimal(10), pa.decimal128(2, 0)))
    digits = pc.utf8_slice_codeunits(lifted.cast(pa.string()), 1)
    plain = pc.if_else(negative, pc.binary_join_element_wise("-", digits, ""), digits)
    return pc.replace_with_mask(text.combine_chunks(), scientific.combine_chunks(), plain.combine_chunks())
