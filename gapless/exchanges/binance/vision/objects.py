"""Archive objects: the ZIP files of data.binance.vision by market, kind, symbol and period. Pure names, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, from_ms, iso, month_start, next_month, to_ms
from gapless.errors import ConfigError

Period = Literal["month", "day"]

KLINES = "klines"
FUNDING_RATE = "fundingRate"
METRICS = "metrics"

_FOLDERS = {Market.SPOT: "data/spot", Market.UM: "data/futures/um"}
_MARKETS = {folder: market for market, folder in _FOLDERS.items()}
_PERIODS: dict[Period, str] = {"month": "monthly", "day": "daily"}
_KINDS: frozenset[tuple[Market, str, Period]] = frozenset(
    {
        (Market.SPOT, KLINES, "month"),
        (Market.SPOT, KLINES, "day"),
        (Market.UM, KLINES, "month"),
        (Market.UM, KLINES, "day"),
        (Market.UM, FUNDING_RATE, "month"),
        (Market.UM, METRICS, "day"),
    }
)
"""What the archive has of the kinds read here (reference 10.1): funding by month alone, metrics by day alone."""

_PATH = re.compile(
    r"(?P<folder>data/spot|data/futures/um)/(?P<period>monthly|daily)/(?P<kind>[A-Za-z]+)/(?P<symbol>[^/]+)/"
    r"(?:(?P<interval>[^/]+)/)?[^/]+-(?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)\.zip"
)


@dataclass(frozen=True, slots=True, order=True)
class ArchiveObject:
    """One ZIP of the archive. Its CHECKSUM lies beside it, at the same path with `.CHECKSUM` behind.

    Attributes:
        kind: `klines`, `fundingRate` (by month only) or `metrics` (by day only): the archive's own words.
        raw_symbol: the exchange's own name, any UTF-8.
        interval: of klines; None for the others.
        start_ms: first moment of the UTC month or day it covers.

    Raises:
        ConfigError: the archive has no such objects, or `start_ms` is not the start of a month or day.
    """

    market: Market
    kind: str
    raw_symbol: str
    interval: Interval | None
    period: Period
    start_ms: int

    def __post_init__(self) -> None:
        if not exists(self.market, self.kind, self.period) or (self.interval is None) == (self.kind == KLINES):
            raise ConfigError(
                f"the archive has no {self.kind} of {self.market} by {self.period} "
                f"({'with an interval' if self.interval else 'without an interval'}): it has klines of spot and um by "
                "month and day, with an interval; fundingRate of um by month; metrics of um by day"
            )
        if not self.raw_symbol or "/" in self.raw_symbol:
            raise ConfigError(f"{self.raw_symbol!r} is not an exchange's own name: write BTCUSDT")
        if self.start_ms != _start(self.period, self.start_ms):
            raise ConfigError(f"{iso(self.start_ms)} is not the start of a {self.period}")

    @property
    def window(self) -> Window:
        """The month or day it covers."""
        return Window(self.start_ms, next_month(self.start_ms) if self.period == "month" else self.start_ms + DAY_MS)

    @property
    def name(self) -> str:
        """`BTCUSDT-1m-2024-09.zip`, `BTCUSDT-fundingRate-2026-04.zip`, `BTCUSDT-metrics-2026-05-08.zip`."""
        return f"{self._stem}.zip"

    @property
    def member(self) -> str:
        """The one file inside: `BTCUSDT-1m-2024-09.csv`."""
        return f"{self._stem}.csv"

    @property
    def path(self) -> str:
        """Where it lies below the archive's address, not percent-encoded.

        `data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-09.zip`, to be found at
        https://data.binance.vision/data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-09.zip
        """
        return folder(self.market, self.kind, self.period, self.raw_symbol, self.interval) + self.name

    @property
    def _stem(self) -> str:
        day = f"{from_ms(self.start_ms):%Y-%m-%d}"
        return f"{self.raw_symbol}-{self.interval or self.kind}-{day if self.period == 'day' else day[:7]}"

    def __str__(self) -> str:
        return self.path


def month_object(market: Market, kind: str, raw_symbol: str, interval: Interval | None, at_ms: int) -> ArchiveObject:
    """The object of the UTC month that holds `at_ms`."""
    return ArchiveObject(market, kind, raw_symbol, interval, "month", month_start(at_ms))


def day_object(market: Market, kind: str, raw_symbol: str, interval: Interval | None, at_ms: int) -> ArchiveObject:
    """The object of the UTC day that holds `at_ms`."""
    return ArchiveObject(market, kind, raw_symbol, interval, "day", _start("day", at_ms))


def folder(
    market: Market,
    kind: str,
    period: Period,
    raw_symbol: str | None = None,
    interval: Interval | None = None,
) -> str:
    """The folder, with a slash behind, of a kind's symbols or (given a symbol) of one series' objects.

    `data/futures/um/daily/metrics/`, `data/spot/monthly/klines/BTCUSDT/1m/`
    """
    parts = (_FOLDERS[market], _PERIODS[period], kind, raw_symbol, interval)
    return "".join(f"{part}/" for part in parts if part is not None)


def exists(market: Market, kind: str, period: Period) -> bool:
    """Whether the archive has this kind by that period at all."""
    return (market, kind, period) in _KINDS


def parse_path(path: str) -> ArchiveObject | None:
    """The object that lies at `path`; None when it is none of those read here (a CHECKSUM, another kind, `1s`, ...)."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    period: Period = "month" if found["period"] == "monthly" else "day"
    date = found["date"] if period == "day" else f"{found['date']}-01"
    try:
        interval = None if found["interval"] is None else Interval(found["interval"])
        start_ms = to_ms(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC))
        made = ArchiveObject(_MARKETS[found["folder"]], found["kind"], found["symbol"], interval, period, start_ms)
    except (ValueError, ConfigError):
        return None
    return made if made.path == path else None


def published_by_ms(obj: ArchiveObject) -> int:
    """The earliest moment at which it may exist, ms: the end of what it covers, by the exchange's clock.

    It comes later than that, and nobody promises when: days have been seen from 02:34 to 08:40 UTC of the next day,
    months on the first Monday after or as late as the middle of the month, and outages last days (reference 10.3). So
    a 404 after this moment says "not yet" as well as "never".
    """
    return obj.window.end_ms


def _start(period: Period, at_ms: int) -> int:
    return month_start(at_ms) if period == "month" else at_ms - at_ms % DAY_MS
