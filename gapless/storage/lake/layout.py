"""Where everything lies in the lake: the keys of every zone, and nothing else. Pure.

    ohlcv/binance-1m-2026-11-20.parquet       1m, 5m, 15m: one object a day, all symbols of both markets
    ohlcv/binance-1h-2026-11.parquet          1h, 4h, 1d: one object a month
    ohlcv/binance-1m-2019-04.07.parquet       a month back-filled cold: 16 symbol buckets instead of its days
    funding_rate/binance-2026-11.parquet      funding: one object a month
    futures_metrics/binance-2026-11.07.parquet  open interest and ratios: 16 symbol buckets a month, always
    raw/ohlcv/binance/um/2026-11-20/16/<batch>-<digest>.jsonl.zst
    quarantine/  reports/  manifests/         beside the datasets
    _work/  _tmp/  _locks/  _superseded/  _probe/  _meta/     never data; readers of datasets do not meet them

Why flat names and no `key=value` folders: `docs/decisions/0030-lake-layout.md`. What decides between days and buckets:
`docs/decisions/0033-a-month-has-one-form.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, from_ms, month_start, next_month, to_ms
from gapless.errors import ConfigError

DATASET_PREFIXES = tuple(f"{dataset}/" for dataset in Dataset)
WORK_PREFIX = "_work/"
ORIGIN_KEY = "_meta/origin.json"
BUCKETS = 16
"""Into how many objects a cold month of a fine interval is cut."""

Period = Literal["day", "month"]


class Form(StrEnum):
    """Into what objects a month is cut: one for each day, one for each symbol bucket, or just one."""

    DAYS = "days"
    BUCKETS = "buckets"
    WHOLE = "whole"


_NAME = re.compile(r"[a-z0-9_]{1,16}")
_OBJECT = re.compile(
    r"(?P<dataset>[a-z_]+)/(?P<exchange>[a-z0-9_]{1,16})(-(?P<interval>1m|5m|15m|1h|4h|1d))?"
    r"-(?P<month>\d{4}-\d{2})(-(?P<day>\d{2})|\.(?P<bucket>\d{2}))?\.parquet"
)


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a dataset (and interval) of one exchange: what a form is claimed for.

    Attributes:
        interval: of bars; None for datasets without intervals.
        start_ms: its first moment.
    """

    dataset: Dataset
    exchange: str
    interval: Interval | None
    start_ms: int

    def __post_init__(self) -> None:
        if (self.interval is None) == (self.dataset is Dataset.OHLCV):
            raise ConfigError(f"{self.dataset} with interval {self.interval}: bars have an interval, nothing else has")
        if self.start_ms != month_start(self.start_ms):
            raise ConfigError(f"{from_ms(self.start_ms):%Y-%m-%d %H:%M} is not the first moment of a month")

    @property
    def window(self) -> Window:
        """The times it covers."""
        return Window(self.start_ms, next_month(self.start_ms))

    @property
    def prefix(self) -> str:
        """What the keys of all its objects begin with."""
        return month_prefix(self.dataset, self.exchange, self.interval, self.start_ms)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms it may have; more than one where the first writer decides."""
        if self.interval is not None:
            fine = period_of(self.interval) == "day"
            return (Form.DAYS, Form.BUCKETS) if fine else (Form.WHOLE,)
        return (Form.BUCKETS,) if self.dataset is Dataset.METRICS else (Form.WHOLE,)

    def whole(self) -> LakeObject:
        """Its one object, in the form WHOLE."""
        return LakeObject(self.dataset, self.exchange, self.interval, self.start_ms, "month")

    def bucket(self, number: int) -> LakeObject:
        """One of its symbol buckets."""
        return LakeObject(self.dataset, self.exchange, self.interval, self.start_ms, "month", number)

    def day(self, at_ms: int) -> LakeObject:
        """The day that holds `at_ms`."""
        return LakeObject(self.dataset, self.exchange, self.interval, at_ms - at_ms % DAY_MS, "day")


@dataclass(frozen=True, slots=True)
class LakeObject:
    """The identity of one object of canonical rows.

    Attributes:
        interval: of bars; None for datasets without intervals.
        period_start_ms: first moment of its day or month; rows with a `ts` in the period lie in it.
        period: its length.
        bucket: which symbols of the month it holds (see `bucket_of`), None for all symbols.
    """

    dataset: Dataset
    exchange: str
    interval: Interval | None
    period_start_ms: int
    period: Period
    bucket: int | None = None

    @property
    def window(self) -> Window:
        """The times it covers."""
        end = self.period_start_ms + DAY_MS if self.period == "day" else next_month(self.period_start_ms)
        return Window(self.period_start_ms, end)

    @property
    def month(self) -> Month:
        """The month it is a part of."""
        return Month(self.dataset, self.exchange, self.interval, month_start(self.period_start_ms))

    @property
    def form(self) -> Form:
        """The form of a month that it is a part of."""
        return Form.DAYS if self.period == "day" else Form.WHOLE if self.bucket is None else Form.BUCKETS

    @property
    def key(self) -> str:
        """Where it lies."""
        form = "%Y-%m-%d" if self.period == "day" else "%Y-%m"
        bucket = "" if self.bucket is None else f".{self.bucket:02}"
        prefix = prefix_of(self.dataset, self.exchange, self.interval)
        return f"{prefix}{from_ms(self.period_start_ms).strftime(form)}{bucket}.parquet"


def prefix_of(dataset: Dataset, exchange: str, interval: Interval | None) -> str:
    """What the keys of all rows of one dataset, exchange and interval begin with.

    Raises:
        ConfigError: the exchange's name is not lower-case ASCII of at most 16 letters, digits and underscores.
    """
    if not _NAME.fullmatch(exchange):
        raise ConfigError(f"not an exchange's name: {exchange!r}; write lower-case letters and digits, such as binance")
    return f"{dataset}/{exchange}-{interval}-" if interval else f"{dataset}/{exchange}-"


def month_prefix(dataset: Dataset, exchange: str, interval: Interval | None, at_ms: int) -> str:
    """What the keys of all objects of one month begin with."""
    return f"{prefix_of(dataset, exchange, interval)}{from_ms(at_ms):%Y-%m}"


def period_of(interval: Interval) -> Period:
    """How much time one object of an interval usually holds: a day, or a month for 1h and coarser."""
    return "day" if interval.ms < Interval.H1.ms else "month"


def buckets(dataset: Dataset, interval: Interval | None) -> tuple[int | None, ...]:
    """The pieces in which a cold month is written: all buckets, or just None where one object holds the month."""
    month = Month(dataset, "any", interval, 0)
    return tuple(range(BUCKETS)) if Form.BUCKETS in month.forms else (None,)


def months_in(dataset: Dataset, exchange: str, interval: Interval | None, window: Window) -> Iterator[Month]:
    """The months that `window` touches, oldest first."""
    for piece in window.split_months():
        yield Month(dataset, exchange, interval, month_start(piece.start_ms))


def parse_key(key: str) -> LakeObject | None:
    """The object of canonical rows that a key names; None for any other key."""
    match = _OBJECT.fullmatch(key)
    if match is None or match["dataset"] not in list(Dataset):
        return None
    dataset, day, bucket = Dataset(match["dataset"]), match["day"], match["bucket"]
    interval = Interval(match["interval"]) if match["interval"] else None
    try:
        start = to_ms(datetime.strptime(f"{match['month']}-{day or '01'}", "%Y-%m-%d").replace(tzinfo=UTC))
        found = LakeObject(
            dataset,
            match["exchange"],
            interval,
            start,
            "day" if day else "month",
            None if bucket is None else int(bucket),
        )
        known = found.form in found.month.forms
    except (ValueError, ConfigError):
        return None  # no such date, or bars without an interval
    if not known or (found.bucket is not None and found.bucket >= BUCKETS):
        return None
    return found


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


def rejected_key(path: str, sha256: str) -> str:
    """An archive file that could not be trusted, kept as it came: `quarantine/archive/data/futures/...-<digest>.zip`.

    Args:
        path: the file's own in the archive.
        sha256: of its bytes, hex; so that another refused version lies beside it.
    """
    return f"quarantine/archive/{path.removesuffix('.zip')}-{sha256[:16]}.zip"


def work_key(batch: str, name: str, digest: str) -> str:
    """An intermediate table between two steps of one batch."""
    return f"{WORK_PREFIX}{batch}/{name}-{digest}.arrow"


def form_key(month: Month) -> str:
    """The claim of a month's form."""
    return f"_meta/forms/{month.prefix}.json"
