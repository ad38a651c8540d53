"""The archive's files by name: paths, periods, and when each is published. Pure.

Paths as on data.binance.vision (2026): `data/<market>/<daily|monthly>/<kind>/<SYMBOL>/[<interval>/]<file>.zip`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, next_month
from replica.bars import INTERVAL_MS

FUNDING = "fundingRate"
KLINES = "klines"
METRICS = "metrics"

CHECKSUM = ".CHECKSUM"
PUBLISHED_AFTER_MS = (8 * 60 + 36) * 60_000
"""Files appear at 08:36 UTC (USD-M's daily ones were seen at 08:32 to 08:40 in 2025)."""

FOLDERS = {Market.SPOT: "spot", Market.UM: "futures/um"}
_KINDS = {
    ("spot", "daily"): {KLINES},
    ("spot", "monthly"): {KLINES},
    ("futures/um", "daily"): {KLINES, METRICS},
    ("futures/um", "monthly"): {KLINES, FUNDING},
}
_PATH = re.compile(
    r"data/(?P<folder>spot|futures/um)/(?P<cut>daily|monthly)/(?P<kind>klines|fundingRate|metrics)/(?P<symbol>[^/]{1,64})/"
    r"(?:(?P<interval>\d{1,2}[mhd])/)?(?P<name>[^/]{1,128})\.zip"
)
_PERIOD = {"daily": re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII), "monthly": re.compile(r"\d{4}-\d{2}", re.ASCII)}


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One ZIP of the archive.

    Attributes:
        kind: `klines`, `fundingRate` or `metrics`.
        interval: of klines; empty for the others.
        monthly: a month's file, or a day's.
        period: the UTC month or day that it covers.
    """

    market: Market
    kind: str
    symbol: str
    interval: str
    monthly: bool
    period: Window

    @property
    def folder(self) -> str:
        """`data/futures/um/monthly/klines/BTCUSDT/1m/`"""
        cut = "monthly" if self.monthly else "daily"
        interval = f"{self.interval}/" if self.interval else ""
        return f"data/{FOLDERS[self.market]}/{cut}/{self.kind}/{self.symbol}/{interval}"

    @property
    def stem(self) -> str:
        """`BTCUSDT-1m-2024-09`"""
        text = datetime.fromtimestamp(self.period.start_ms / 1000, UTC).strftime(
            "%Y-%m" if self.monthly else "%Y-%m-%d"
        )
        return f"{self.symbol}-{self.interval or self.kind}-{text}"

    @property
    def path(self) -> str:
        """`data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-09.zip`"""
        return f"{self.folder}{self.stem}.zip"

    @property
    def published_ms(self) -> int:
        """When the archive first has it: a day at 08:36 UTC of the next day, a month at 08:36 of the first Monday after
        its end (its own end, if that is one)."""
        end_ms = self.period.end_ms
        if self.monthly:
            weekday = (end_ms // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
            end_ms += (-weekday % 7) * DAY_MS
        return end_ms + PUBLISHED_AFTER_MS


def parse_path(path: str) -> ArchiveFile | None:
    """The file that a path names, without its `.CHECKSUM`; None when the archive has no such place."""
    match = _PATH.fullmatch(path)
    if match is None or match["kind"] not in _KINDS[match["folder"], match["cut"]]:
        return None
    kind, symbol, interval = match["kind"], match["symbol"], match["interval"] or ""
    if (kind == KLINES) != bool(interval) or (interval and interval not in INTERVAL_MS):
        return None
    head = f"{symbol}-{interval or kind}-"
    period = _period(match["name"].removeprefix(head), match["cut"])
    if not match["name"].startswith(head) or period is None:
        return None
    market = Market.SPOT if match["folder"] == "spot" else Market.UM
    return ArchiveFile(market, kind, symbol, interval, match["cut"] == "monthly", period)


def _period(text: str, cut: str) -> Window | None:
    if not _PERIOD[cut].fullmatch(text):
        return None
    try:
        first = date.fromisoformat(text if cut == "daily" else f"{text}-01")
    except ValueError:
        return None
    start_ms = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) * 1000
    return Window(start_ms, start_ms + DAY_MS if cut == "daily" else next_month(start_ms))
