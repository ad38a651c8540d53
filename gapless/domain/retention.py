"""How long what is kept, and what may go: typed rules and decisions on values. Pure; the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.window import DAY_MS, HOUR_MS

Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]
Months = Annotated[int, msgspec.Meta(ge=1, le=1_200)]
Bytes = Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 50)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; a key that is left out has its default, one that is unknown is an error."""


class HotMonths(_Section, frozen=True):
    """How many months each table keeps in MySQL, the current one included; None: as many as `GAPLESS_HOT_MONTHS`."""

    ohlcv: Months | None = None
    funding_rate: Months | None = None
    futures_metrics: Months | None = None


class StreamBounds(_Section, frozen=True):
    """How much the live Streams in Redis may hold.

    Attributes:
        minutes: entries that are older go, once the archive has taken them. bytes: of all Streams together.
    """

    minutes: Annotated[int, msgspec.Meta(ge=1, le=10_080)] = 15
    bytes: Bytes = 2 << 30


class SpoolBounds(_Section, frozen=True):
    """How much taken from the Streams may wait on this disk to be published.

    Attributes:
        hours: an hour that has waited longer since it ended makes the housekeeping red; it is never deleted.
        bytes: at this size nothing more is taken from the Streams.
    """

    hours: Annotated[int, msgspec.Meta(ge=1, le=8_784)] = 6
    bytes: Bytes = 20 << 30


class Kept(_Section, frozen=True):
    """How many days a kind of object is kept; None: for ever."""

    days: Days | None = None


class KeptSome(_Section, frozen=True):
    """How many days a kind of object is kept that has no use for ever."""

    days: Days = 90


class RetentionRules(_Section, frozen=True):
    """Everything that is kept for a time only. `gapless.pipeline.retention.load_rules` reads them.

    Attributes:
        raw: payloads as received, in the lake's `raw/`.
        superseded: what an object of a month that had left MySQL was before it was replaced.
        reports: quality reports in the lake, and the data docs.
        books: exports of the books; the newest whole one stays, however old.
        quarantine: files of the exchange's archive that could not be trusted.
    """

    hot_months: HotMonths = HotMonths()
    streams: StreamBounds = StreamBounds()
    spool: SpoolBounds = SpoolBounds()
    raw: Kept = Kept(days=90)
    superseded: Kept = Kept(days=30)
    reports: KeptSome = KeptSome()
    books: Kept = Kept(days=30)
    quarantine: Kept = Kept()


def hot_months_of(rules: RetentionRules, dataset: Dataset) -> int | None:
    """How many months of a table stay in MySQL; None when the file leaves that to `GAPLESS_HOT_MONTHS`."""
    found: int | None = getattr(rules.hot_months, str(dataset))
    return found


def outlived(since_ms: int, now_ms: int, days: int | None) -> bool:
    """Whether something that is there since `since_ms` has been kept its days; never when they are for ever."""
    return days is not None and since_ms <= now_ms - days * DAY_MS


@dataclass(frozen=True, slots=True)
class LoadState:
    """How far a load came, as its receipt says: whether its window was over, and whether the lake holds it too."""

    complete: bool
    archived: bool


def is_final(loads: Iterable[LoadState]) -> bool:
    """Whether nobody comes back for the payloads of these loads, all of one batch.

    Each must be archived, and one must have been of a window that was over: what was read of a running hour is loaded
    again. Of a batch that left no receipt nothing is known, so it is not.
    """
    known = list(loads)
    return all(load.archived for load in known) and any(load.complete for load in known)


def payload_goes(since_ms: int, now_ms: int, days: int | None, loads: Iterable[LoadState]) -> bool:
    """Whether payloads may be deleted: kept their days, and all that they brought is loaded and archived."""
    return outlived(since_ms, now_ms, days) and is_final(loads)


def overdue(hour_ms: int, now_ms: int, hours: int) -> bool:
    """Whether the spooled hour that began at `hour_ms` waits longer than it may."""
    return hour_ms + HOUR_MS + hours * HOUR_MS <= now_ms
