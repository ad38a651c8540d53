"""What is stored, both stores as one, without reading it: the days of each series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.universe import by_market, resolve
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import read_instruments
from gapless.storage.mysql.days import EVER, archived_days, held_days

_ORDER = {"": -1} | {str(interval): place for place, interval in enumerate(ALL_INTERVALS)}


@dataclass(frozen=True, slots=True)
class SeriesMonth:
    """A month of one series of which something is stored. Days are numbers whose lowest bit is the first of the month.

    Attributes:
        interval: empty where the dataset has none.
        month_ms: the month's first moment.
        mysql: the days of which MySQL holds rows.
        lake: the days of which the lake holds rows, as the books have it.
    """

    symbol: str
    interval: str
    month_ms: int
    mysql: int
    lake: int

    @property
    def days(self) -> int:
        """The days of which either store holds rows."""
        return self.mysql | self.lake


def bits_of(days: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    while days:
        lowest = days & -days
        yield lowest.bit_length() - 1
        days ^= lowest


def stored_months(
    rt: Runtime,
    dataset: Dataset,
    window: Window = EVER,
    *,
    symbols: Collection[str] | None = None,
    market: Market | None = None,
    intervals: Collection[Interval] = ALL_INTERVALS,
) -> list[SeriesMonth]:
    """The months of every series that hold rows on a day that the window touches; by month, symbol, interval.

    MySQL's key is asked; the lake's days are those of the books, which were entered from objects that were read back.
    An object that was put into the lake by other hands is unknown to them, and so to this.

    Args:
        symbols: unified; None for all that anything is stored of. market: only symbols of this market.
        intervals: of bars; ignored where the dataset has none.

    Raises:
        StorageError: MySQL is away.
    """
    days = Window(window.start_ms - window.start_ms % DAY_MS, window.end_ms + -window.end_ms % DAY_MS)
    # MySQL first, as in reading: rows leave it for the lake only.
    hot = held_days(rt.db, dataset, EXCHANGE, days, symbols, intervals)
    cold: dict[tuple[str, str, int], int] = defaultdict(int)
    for (symbol, label, month_ms), bits in archived_days(rt.db, dataset, EXCHANGE, days, symbols, intervals).items():
        cold[symbol, label if dataset is Dataset.OHLCV else "", month_ms] |= bits
    found_months = [
        SeriesMonth(*key, hot.get(key, 0), cold.get(key, 0))
        for key in hot.keys() | cold.keys()
        if market is None or market_of(key[0]) is market
    ]
    return sorted(found_months, key=lambda each: (each.month_ms, each.symbol, _ORDER[each.interval]))


def span_of(months: Sequence[SeriesMonth]) -> Window | None:
    """From the first day that holds anything to the end of the last one; None when there is none."""
    held = [month for month in months if month.days]
    if not held:
        return None
    first = min(month.month_ms + next(bits_of(month.days)) * DAY_MS for month in held)
    last = max(month.month_ms + month.days.bit_length() * DAY_MS for month in held)
    return Window(first, last)


def chosen_symbols(
    rt: Runtime, names: Sequence[str], market: Market | None
) -> tuple[frozenset[str] | None, list[Failure]]:
    """The unified symbols that names mean, None for no names: all that is stored; and the names that mean nothing.

    A unified symbol that no book knows is taken as it is: something may be stored of it.

    Raises:
        ConfigError: a raw symbol without a market, or a symbol of another market than the one given.
    """
    if not names:
        return None, []
    known = read_instruments(rt.db, EXCHANGE)
    chosen: set[str] = set()
    failures = []
    for name, spec in by_market(names, market).items():
        found, unknown = resolve(spec, known, name)
        chosen.update(each.symbol for each in found)
        for each in unknown:
            if market_of(each) is None:
                message = f"{name} has no instrument of that name on record; check the spelling, or write BTC/USDT:USDT"
                failures.append(Failure(each, "", "", "bad_symbol", message))
            else:
                chosen.add(each)
    return frozenset(chosen), failures


def unstored(
    names: Sequence[str], chosen: frozenset[str] | None, months: Sequence[SeriesMonth], rt: Runtime
) -> list[Failure]:
    """The unified symbols among `names` that neither the books know nor anything is stored of."""
    doubtful = {name for name in names if market_of(name) is not None} & (chosen or frozenset())
    lacking = doubtful - {month.symbol for month in months}
    if lacking:
        lacking -= {each.symbol for each in read_instruments(rt.db, EXCHANGE)}
    message = "no instrument of that name is on record, and nothing is stored of it; check the spelling"
    return [Failure(name, "", "", "bad_symbol", message) for name in sorted(lacking)]


def day_of(month: SeriesMonth, place: int) -> Window:
    """The UTC day of a bit."""
    start = month.month_ms + place * DAY_MS
    return Window(start, start + DAY_MS)


def days_within(month: SeriesMonth, window: Window) -> int:
    """The days of which anything is stored that the window touches."""
    first = max(0, (window.start_ms - month.month_ms) // DAY_MS)
    end = min(31, (window.end_ms - 1 - month.month_ms) // DAY_MS + 1)
    return month.days & ((1 << end) - (1 << first)) if first < end else 0
