"""Where everything lies in the lake: the keys of every zone, and nothing else. Pure.

    ohlcv/binance-1m-2026-11-20.parquet       1m, 5m, 15m: one object a day, all symbols of both markets
    ohlcv/binance-1h-2026-11.parquet          1h, 4h, 1d: one object a month
    ohlcv/binance-1m-2019-04.07.parquet       a month back-filled cold: 16 symbol buckets instead of its days
    raw/ohlcv/binance/um/2026-11-20/16/<batch>-<digest>.jsonl.zst
    quarantine/  reports/                     beside the datasets
    _work/  _tmp/  _locks/  _superseded/  _probe/  _meta/     never data; readers of datasets do not meet them

Why flat names and no `key=value` folders: `docs/decisions/0030-lake-layout.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, from_ms, month_start, next_month, to_ms
from gapless.errors import ConfigError

OHLCV_PREFIX = "ohlcv/"
WORK_PREFIX = "_work/"
ORIGIN_KEY = "_meta/origin.json"
BUCKETS = 16
"""Into how many objects a cold month of a fine interval is cut."""

Period = Literal["day", "month"]

_NAME = re.compile(r"[a-z0-9_]{1,16}")
_OBJECT = re.compile(
    r"ohlcv/(?P<exchange>[a-z0-9_]{1,16})-(?P<interval>1m|5m|15m|1h|4h|1d)"
    r"-(?P<month>\d{4}-\d{2})(-(?P<day>\d{2})|\.(?P<bucket>\d{2}))?\.parquet"
)


@dataclass(frozen=True, slots=True, order=True)
class BarsObject:
    """The identity of one object of canonical bars.

    Attributes:
        period_start_ms: first moment of its day or month; bars with an open time in the period lie in it.
        period: its length.
        bucket: which symbols of a cold month it holds (see `bucket_of`), None for all symbols.
    """

    exchange: str
    interval: Interval
    period_start_ms: int
    period: Period
    bucket: int | None = None

    @property
    def window(self) -> Window:
        """The open times it covers."""
        end = self.period_start_ms + DAY_MS if self.period == "day" else next_month(self.period_start_ms)
        return Window(self.period_start_ms, end)

    @property
    def key(self) -> str:
        """Where it lies."""
        form = "%Y-%m-%d" if self.period == "day" else "%Y-%m"
        bucket = "" if self.bucket is None else f".{self.bucket:02}"
        return (
            f"{prefix_of(self.exchange, self.interval)}{from_ms(self.period_start_ms).strftime(form)}{bucket}.parquet"
        )


def prefix_of(exchange: str, interval: Interval) -> str:
    """What the keys of all bars of one exchange and interval begin with.

    Raises:
        ConfigError: the exchange's name is not lower-case ASCII of at most 16 letters, digits and underscores.
    """
    if not _NAME.fullmatch(exchange):
        raise ConfigError(f"not an exchange's name: {exchange!r}; write lower-case letters and digits, such as binance")
    return f"{OHLCV_PREFIX}{exchange}-{interval}-"


def month_prefix(exchange: str, interval: Interval, at_ms: int) -> str:
    """What the keys of all bars of one exchange, interval and month begin with."""
    return f"{prefix_of(exchange, interval)}{from_ms(at_ms):%Y-%m}"


def period_of(interval: Interval) -> Period:
    """How much time one object of an interval holds: a day, or a month for 1h and coarser."""
    return "day" if interval.ms < Interval.H1.ms else "month"


def object_at(exchange: str, interval: Interval, at_ms: int) -> BarsObject:
    """The object, in its usual form, that a bar opening at `at_ms` belongs to."""
    period = period_of(interval)
    start = at_ms - at_ms % DAY_MS if period == "day" else month_start(at_ms)
    return BarsObject(exchange, interval, start, period)


def objects_in(exchange: str, interval: Interval, window: Window) -> Iterator[BarsObject]:
    """The objects, in their usual form, that bars opening in `window` belong to, oldest first."""
    at = object_at(exchange, interval, window.start_ms)
    while at.period_start_ms < window.end_ms:
        yield at
        at = object_at(exchange, interval, at.window.end_ms)


def parse_key(key: str) -> BarsObject | None:
    """The object of canonical bars that a key names; None for any other key."""
    match = _OBJECT.fullmatch(key)
    if match is None:
        return None
    interval, day, bucket = Interval(match["interval"]), match["day"], match["bucket"]
    period: Period = "day" if day else "month"
    fine = period_of(interval) == "day"
    if (period == "day" and not fine) or (bucket is not None) != (fine and not day):
        return None  # a form that this interval never has
    try:
        start = to_ms(datetime.strptime(f"{match['month']}-{day or '01'}", "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError:
        return None
    if bucket is not None and int(bucket) >= BUCKETS:
        return None
    return BarsObject(match["exchange"], interval, start, period, None if bucket is None else int(bucket))


def bucket_of(symbol: str) -> int:
    """The bucket of a symbol in a cold month: a stable hash, the same on every machine and in every release."""
    return hashlib.sha256(symbol.encode()).digest()[0] % BUCKETS


def raw_key(dataset: str, exchange: str, market: str, start_ms: int, batch: str, digest: str) -> str:
    """Payloads as received of one batch; the window's first hour is the folder, so old ones are easily found.

    Args:
        batch: the batch's short name (`Batch.key`).
        digest: of what was received, so that a later, different answer lies beside the earlier one.
    """
    at = from_ms(start_ms)
    return f"raw/{dataset}/{exchange}/{market}/{at:%Y-%m-%d}/{at:%H}/{batch}-{digest}.jsonl.zst"


def quarantine_key(dataset: str, exchange: str, market: str, start_ms: int, batch: str, digest: str) -> str:
    """Rows of one batch that broke a rule, with their reasons."""
    at = from_ms(start_ms)
    return f"quarantine/{dataset}/{exchange}/{market}/{at:%Y-%m-%d}/{at:%H}/{batch}-{digest}.jsonl.zst"


def work_key(batch: str, name: str, digest: str) -> str:
    """An intermediate table between two steps of one batch."""
    return f"{WORK_PREFIX}{batch}/{name}-{digest}.arrow"
