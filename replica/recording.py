"""Recorded bars on disk: which files hold them, and their rows word for word.

Known are the exchange's own archive files, zipped or not, anywhere below a folder: `SYMBOL-INTERVAL-PERIOD.csv` or
`.zip`, the period a month or a day, with a header or without, times in milliseconds or (spot since 2025) microseconds.
Other formats hold fewer than the twelve fields of a bar, as floats, and are passed over.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, iso, next_month
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS

_NAME = re.compile(r"(?P<symbol>.+)-(?P<interval>\d+[mhd])-(?P<period>\d{4}-\d{2}(?:-\d{2})?)\.(?:csv|zip)")
_FIELDS = 12
_MICROS_DIGITS = 16


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """One file of bars: whose they are, and the month or day that it covers."""

    path: Path
    market: Market
    symbol: str
    interval: str
    period: Window


@dataclass(frozen=True, slots=True)
class RecordedBar:
    """A bar with the file's own text for each value; times are milliseconds.

    Attributes:
        values: open, high, low, close, volume, quote volume, trades, taker buy volume, taker buy quote volume, ignore.
    """

    open_ms: int
    close_ms: int
    values: tuple[str, ...]

    def row(self, *, micros: bool = False) -> str:
        """The bar as the exchange's JSON row."""
        first, close_ms = self.open_ms, self.close_ms
        if micros:
            first, close_ms = first * 1000, close_ms * 1000 + 999
        o, h, low, c, volume, quote, trades, taker, taker_quote, ignore = self.values
        return (
            f'[{first},"{o}","{h}","{low}","{c}","{volume}",{close_ms},'
            f'"{quote}",{trades},"{taker}","{taker_quote}","{ignore}"]'
        )

    def line(self, *, micros: bool = False) -> str:
        """The bar as a line of the archive's CSV."""
        return self.row(micros=micros)[1:-1].replace('"', "") + "\n"


def find_files(root: Path) -> list[RecordedFile]:
    """All files of bars below a folder, by market, symbol, interval and period; coin-margined ones are passed over.

    The market is told by a folder on the way named `spot` or `um` (or beginning so, `um_futures_vision_csv`), the
    nearest to the file first.

    Raises:
        ConfigError: the folder does not exist, holds no such file, or a file's market cannot be told.
    """
    if not root.is_dir():
        raise ConfigError(f"--data {root}: no such folder")
    found = [file for path in sorted(root.rglob("*-*-*.*")) if (file := _described(path)) is not None]
    if not found:
        raise ConfigError(
            f"--data {root} holds no files named SYMBOL-INTERVAL-PERIOD.csv or .zip with all twelve fields"
        )
    return sorted(found, key=lambda file: (file.market, file.symbol, file.interval, file.period))


def read_bars(file: RecordedFile) -> list[RecordedBar]:
    """The file's bars in order of open time.

    Raises:
        ConfigError: the file cannot be read, a row has not twelve fields, or lies outside the file's period.
    """
    bars = []
    for number, line in enumerate(_text(file.path).splitlines(), start=1):
        values = line.split(",")
        if number == 1 and not values[0].isdecimal():
            continue
        if len(values) != _FIELDS or not values[0].isdecimal() or not values[6].isdecimal():
            raise ConfigError(f"{file.path}, line {number}: not a bar of twelve fields: {line[:80]!r}")
        unit = 1000 if len(values[0]) >= _MICROS_DIGITS else 1
        open_ms, close_ms = int(values[0]) // unit, int(values[6]) // unit
        if open_ms not in file.period:
            raise ConfigError(f"{file.path}, line {number}: {iso(open_ms)} is outside the file's period {file.period}")
        bars.append(RecordedBar(open_ms, close_ms, (*values[1:6], *values[7:])))
    return sorted(bars, key=lambda bar: bar.open_ms)


def aggregate_bars(bars: list[RecordedBar], interval_ms: int) -> list[RecordedBar]:
    """The exact bars of a longer interval, in order, with as many decimals as the finest of their parts."""
    buckets: dict[int, list[RecordedBar]] = {}
    for bar in bars:
        buckets.setdefault(bar.open_ms - bar.open_ms % interval_ms, []).append(bar)
    return [_joined(open_ms, interval_ms, parts) for open_ms, parts in buckets.items()]


def just_opened(bar: RecordedBar) -> RecordedBar:
    """The bar in its first moment: its open price, and nothing traded. All that a recording knows of a running bar."""
    price = bar.values[0]
    return RecordedBar(bar.open_ms, bar.close_ms, (price, price, price, price, "0", "0", "0", "0", "0", bar.values[9]))


def _joined(open_ms: int, interval_ms: int, parts: list[RecordedBar]) -> RecordedBar:
    columns = list(zip(*(part.values for part in parts), strict=True))
    highs, lows = columns[1], columns[2]
    values = (
        columns[0][0],
        max(highs, key=Decimal),
        min(lows, key=Decimal),
        columns[3][-1],
        *(_sum(columns[place]) for place in range(4, 9)),
        columns[9][-1],
    )
    return RecordedBar(open_ms, open_ms + interval_ms - 1, values)


def _decimals(texts: tuple[str, ...]) -> int:
    return max(len(text.partition(".")[2]) for text in texts)


def _scaled(text: str, decimals: int) -> int:
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(decimals, "0"))


def _sum(texts: tuple[str, ...]) -> str:
    decimals = _decimals(texts)
    total = str(sum(_scaled(text, decimals) for text in texts))
    if not decimals:
        return total
    total = total.rjust(decimals + 1, "0")
    return f"{total[:-decimals]}.{total[-decimals:]}"


def _described(path: Path) -> RecordedFile | None:
    match = _NAME.fullmatch(path.name)
    if not match or match["interval"] not in INTERVAL_MS:
        return None
    for folder in path.resolve().parent.parts[::-1]:
        name = folder.split("_")[0]
        if name == "cm":
            return None
        if name in ("spot", "um"):
            return RecordedFile(path, Market(name), match["symbol"], match["interval"], _period(path, match["period"]))
    raise ConfigError(f"{path}: spot or um? Put it below a folder named so")


def _period(path: Path, text: str) -> Window:
    try:
        first = date.fromisoformat(text if len(text) > len("2024-09") else f"{text}-01")
    except ValueError:
        raise ConfigError(f"{path}: {text} is no month or day") from None
    start_ms = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) * 1000
    return Window(start_ms, start_ms + DAY_MS if len(text) > len("2024-09") else next_month(start_ms))


def _text(path: Path) -> str:
    try:
        if path.suffix == ".csv":
            return path.read_text(encoding="utf-8")
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(members) != 1:
                raise ConfigError(f"{path} should hold one CSV file, not {len(members)}")
            return archive.read(members[0]).decode()
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
