"""Where the hours of the live Streams lie in the lake, and what their footers say. Pure.

One folder a dataset, the hour in the name:

    trades/binance-2026-11-20T16.03.parquet       8 symbol buckets an hour: trades, book_ticker; 16: depth
    mark_price/binance-2026-11-20T16.parquet      one object an hour: all others
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pyarrow.parquet as pq

from gapless.domain.stream_columns import STREAM_SHAPES, StreamShape
from gapless.domain.window import HOUR_MS, Window, from_ms, to_ms
from gapless.errors import ConfigError, StorageError
from gapless.storage.lake.layout import bucket_of

SCHEMA_VERSION = "1"
_EXCHANGE = re.compile(r"[a-z0-9_]{1,16}")
_OBJECT = re.compile(
    r"(?P<dataset>[a-z_]+)/(?P<exchange>[a-z0-9_]{1,16})-(?P<hour>\d{4}-\d{2}-\d{2}T\d{2})(\.(?P<bucket>\d{2}))?\.parquet"
)


@dataclass(frozen=True, slots=True, order=True)
class HourObject:
    """The identity of one object: the rows of a dataset and exchange whose `ts` lies in an hour, of some symbols.

    Attributes:
        hour_ms: the hour's first moment, UTC.
        bucket: which symbols it holds (see `hour_bucket`); None where one object holds all.
    """

    dataset: str
    exchange: str
    hour_ms: int
    bucket: int | None

    def __post_init__(self) -> None:
        if self.hour_ms % HOUR_MS or not _EXCHANGE.fullmatch(self.exchange) or self.dataset not in STREAM_SHAPES:
            raise ConfigError(f"no hour of a Stream: {self.dataset} {self.exchange} {self.hour_ms}")

    @property
    def shape(self) -> StreamShape:
        """Its columns."""
        return STREAM_SHAPES[self.dataset]

    @property
    def window(self) -> Window:
        """The times it covers."""
        return Window(self.hour_ms, self.hour_ms + HOUR_MS)

    @property
    def key(self) -> str:
        """Where it lies."""
        bucket = "" if self.bucket is None else f".{self.bucket:02}"
        return f"{hour_prefix(self.dataset, self.exchange, self.hour_ms)}{bucket}.parquet"


def hour_prefix(dataset: str, exchange: str, hour_ms: int) -> str:
    """What the keys of all objects of one hour begin with."""
    return f"{dataset}/{exchange}-{from_ms(hour_ms):%Y-%m-%dT%H}"


def hour_bucket(shape: StreamShape, symbol: str) -> int | None:
    """The bucket of a symbol: a stable hash, the same on every machine and in every release."""
    return None if shape.buckets == 1 else bucket_of(symbol) % shape.buckets


def parse_hour_key(key: str) -> HourObject | None:
    """The object that a key names; None for any other key."""
    match = _OBJECT.fullmatch(key)
    if match is None or match["dataset"] not in STREAM_SHAPES:
        return None
    shape, bucket = STREAM_SHAPES[match["dataset"]], match["bucket"]
    if (bucket is None) != (shape.buckets == 1) or int(bucket or 0) >= shape.buckets:
        return None
    try:
        start = to_ms(datetime.strptime(match["hour"], "%Y-%m-%dT%H").replace(tzinfo=UTC))
    except ValueError:
        return None
    return HourObject(match["dataset"], match["exchange"], start, None if bucket is None else int(bucket))


class SymbolRange(msgspec.Struct, frozen=True):
    """What an object holds of one symbol; ids are the exchange's own, -1 where the dataset has none.

    Attributes:
        first_ts_ms, last_ts_ms: of its first and last row.
    """

    symbol: str
    rows: int
    first_id: int
    last_id: int
    first_ts_ms: int
    last_ts_ms: int


class HourFooter(msgspec.Struct, frozen=True):
    """What an object says of itself without its rows being read."""

    rows: int
    content_digest: str
    ranges: tuple[SymbolRange, ...]


def footer_texts(shape: StreamShape, told: HourFooter) -> dict[str, str]:
    """What `read_footer` reads, as the key-value metadata of a file."""
    return {"gapless.schema": _mark(shape), "gapless.hour": msgspec.json.encode(told).decode()}


def read_footer(metadata: pq.FileMetaData, shape: StreamShape, *, name: str) -> HourFooter:
    """What the object's footer says.

    Raises:
        StorageError: it is not an object of this dataset and release.
    """
    told = {key.decode(): value for key, value in (metadata.metadata or {}).items()}
    schema = told.get("gapless.schema", b"none").decode()
    if schema != _mark(shape):
        raise StorageError(
            f"{name} is not a canonical {shape.dataset} object of this release (schema {schema!r}): move it out of the "
            "lake, or read the lake with the release that wrote it"
        )
    return msgspec.json.decode(told["gapless.hour"], type=HourFooter)


def _mark(shape: StreamShape) -> str:
    return f"{shape.dataset}/{SCHEMA_VERSION}"
