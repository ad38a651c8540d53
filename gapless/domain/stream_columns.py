"""What the live Streams carry, as rows: the canonical columns of each kind and what makes a row one of a kind. Pure.

Every dataset has `exchange`, `symbol` (unified) and `ts`; an object of the lake holds the rows whose `ts` lies in its
hour. `received_ns` is when this installation saw the row, nanoseconds since 1970, by the host's clock; `event_ts` is
when the exchange sent it, where that is not `ts` itself. Neither is compared when a row comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from gapless.domain.datasets import FUNDING_RATE
from gapless.domain.schema import PRICE, TIMESTAMP, VOLUME

SEEN = ("event_ts", "received_ns")
"""Columns that say how a row came here, not what it says."""


@dataclass(frozen=True, slots=True)
class StreamShape:
    """How rows of one kind of stream look in the lake.

    Attributes:
        dataset: the folder's name.
        key: the columns that, with exchange and symbol, make a row one of a kind; a row sent twice has them twice.
        buckets: into how many objects an hour is cut, by symbol (a stable hash); fixed for ever.
        ids: the column of the exchange's own numbers; None where it has none.
        contiguous: whether those numbers have no holes as long as nothing was lost.
        added: text columns that objects of earlier releases lack; they are read as empty there.
    """

    dataset: str
    schema: pa.Schema
    key: tuple[str, ...]
    buckets: int
    ids: str | None = None
    contiguous: bool = False
    added: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Rows of a symbol are kept in this order."""
        return ("ts", *(name for name in self.key if name != "ts"))

    @property
    def values(self) -> tuple[str, ...]:
        """What two rows of one key must agree in."""
        known = {"exchange", "symbol", *self.key, *SEEN, "sequence"}
        return tuple(name for name in self.schema.names if name not in known)


def _schema(*columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    whole = (
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("ts", TIMESTAMP),
        *columns,
        ("received_ns", pa.int64()),
    )
    return pa.schema([pa.field(name, kind, nullable=bool(rest and rest[0])) for name, kind, *rest in whole])


TRADES = StreamShape(
    "trades",
    _schema(
        ("trade_id", pa.int64()),  # of the aggregate trade; `ts` is its time
        ("price", PRICE),
        ("quantity", VOLUME),
        ("normal_quantity", VOLUME, True),  # without retail-price-improvement orders; USD-M says it since 2026
        ("first_id", pa.int64()),  # of the trades in it
        ("last_id", pa.int64()),
        ("buyer_is_maker", pa.bool_()),
        ("event_ts", TIMESTAMP),
    ),
    key=("trade_id",),
    buckets=8,
    ids="trade_id",
    contiguous=True,
)
MARK_PRICE = StreamShape(
    "mark_price",
    _schema(  # `ts` is the event's
        ("mark_price", PRICE),
        ("mark_price_average", PRICE, True),
        ("index_price", PRICE),
        ("estimated_settle_price", PRICE),
        ("funding_rate", FUNDING_RATE),
        ("next_funding_ts", TIMESTAMP),
    ),
    key=("ts",),
    buckets=1,
)
LIQUIDATIONS = StreamShape(
    "liquidations",
    _schema(  # `ts` is the order's trade time
        ("sequence", pa.int32()),  # 0, 1, ... among those of one symbol and millisecond, in the order of their values
        ("side", pa.string()),  # SELL: a long was liquidated
        ("order_type", pa.string()),
        ("time_in_force", pa.string()),
        ("quantity", VOLUME),
        ("price", PRICE),
        ("average_price", PRICE),
        ("status", pa.string()),
        ("last_quantity", VOLUME),
        ("accumulated_quantity", VOLUME),
        ("event_ts", TIMESTAMP),
    ),
    key=(
        "ts", "side", "order_type", "time_in_force", "quantity", "price", "average_price", "status", "last_quantity",
        "accumulated_quantity",
    ),
    buckets=1,
)  # fmt: skip
BOOK_TICKER = StreamShape(
    "book_ticker",
    _schema(  # `ts` is the event's; spot names none: when it was received
        ("update_id", pa.int64()),
        ("bid_price", PRICE),
        ("bid_quantity", VOLUME),
        ("ask_price", PRICE),
        ("ask_quantity", VOLUME),
        ("transaction_ts", TIMESTAMP, True),
    ),
    key=("update_id",),
    buckets=8,
    ids="update_id",
)
DEPTH = StreamShape(
    "depth",
    _schema(  # `ts` is the event's
        ("first_update_id", pa.int64()),
        ("final_update_id", pa.int64()),
        ("previous_final_id", pa.int64(), True),  # USD-M alone
        ("bids", pa.string()),  # [["price","quantity"],...], the exchange's own digits
        ("asks", pa.string()),
        ("transaction_ts", TIMESTAMP, True),
    ),
    key=("final_update_id",),
    buckets=16,
    ids="final_update_id",
)
KLINES = StreamShape(
    "klines",
    _schema(  # updates of open bars and their closes; `ts` is the event's
        ("interval", pa.string()),
        ("open_ts", TIMESTAMP),
        ("closed", pa.bool_()),
        ("open", PRICE),
        ("high", PRICE),
        ("low", PRICE),
        ("close", PRICE),
        ("volume", VOLUME),
        ("quote_volume", VOLUME),
        ("trades", pa.int64()),
        ("taker_buy_volume", VOLUME),
        ("taker_buy_quote_volume", VOLUME),
        ("first_id", pa.int64()),
        ("last_id", pa.int64()),
    ),
    key=("interval", "open_ts", "ts", "closed"),
    buckets=1,
)
STREAM_GAP = StreamShape(
    "stream_gap",
    _schema(  # what `md.gaps` says; `ts` is when the loss was noticed
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("from_id", pa.string()),
        ("to_id", pa.string()),
        ("first_identity", pa.string()),  # the exchange's ids, see `GapEvent.first`; empty: it numbers none
        ("last_identity", pa.string()),
        ("count", pa.int64()),  # -1: not known
        ("repaired", pa.bool_()),
        ("detail", pa.string()),
    ),
    # A burst is told in one millisecond: what is missing tells its events apart.
    key=("ts", "kind", "reason", "from_id", "to_id", "first_identity", "last_identity", "repaired"),
    buckets=1,
    added=("first_identity", "last_identity"),
)

STREAM_SHAPES = {
    shape.dataset: shape for shape in (TRADES, DEPTH, KLINES, BOOK_TICKER, MARK_PRICE, LIQUIDATIONS, STREAM_GAP)
}
"""By dataset, which for all but `stream_gap` is the kind's own name."""
