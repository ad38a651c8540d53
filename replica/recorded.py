"""A recorded market behind the replica's interface: files of bars, replayed word for word."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS, MINUTE_MS
from replica.info import Symbol, SymbolFacts, spot_symbol, um_symbol
from replica.query import KlineQuery
from replica.recorded_series import RecordedSeries
from replica.recording import RecordedBar, RecordedFile, aggregate_bars, find_files, just_opened, read_bars
from replica.refusal import invalid_symbol
from replica.series import Series
from replica.universe import PERPETUAL_SENTINEL_MS
from replica.vision.recorded import RecordedZips

MARK = "recorded"

_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD1", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD")
_FILES_KEPT = 32
_DAYS_KEPT = 2048


class RecordedSource:
    """Bars of the files below a folder.

    Each interval is served as it was recorded; days of which only 1m was recorded are served in every longer interval
    as exact aggregates. Where files overlap, a day's file stands above its month's.

    Args:
        root: the folder.

    Raises:
        ConfigError: there is nothing to serve, or a file is not what its name says.
    """

    mark = MARK

    def __init__(self, root: Path) -> None:
        self._files: dict[tuple[Market, str, str], list[RecordedFile]] = {}
        for file in find_files(root):
            self._files.setdefault((file.market, file.symbol, file.interval), []).append(file)
        self._zips = RecordedZips(root)
        self.series: Series = RecordedSeries(root)
        self._read = lru_cache(maxsize=_FILES_KEPT)(self._by_day)
        self._day = lru_cache(maxsize=_DAYS_KEPT)(self._make_day)
        described = _recorded_symbols(root)
        self._symbols: dict[Market, dict[str, Symbol]] = {market: {} for market in Market}
        for market, symbol in sorted({(market, symbol) for market, symbol, _ in self._files}):
            found = described.get((market, symbol))
            self._symbols[market][symbol] = found if found is not None else self._derived(market, symbol)

    def end_ms(self) -> int:
        """The end of the data: the close of the newest bar of all."""
        newest = max(files[-1].period.end_ms for files in self._files.values())
        last = [file for files in self._files.values() for file in files if file.period.end_ms == newest]
        return max(bar.close_ms for file in last for bar in read_bars(file)[-1:]) + 1

    def symbols(self, market: Market, now_ms: int) -> Mapping[str, Symbol]:
        """The recorded instruments; those of a recorded exchangeInfo as they stand there, the others told from their
        bars. `now_ms` changes nothing: a recording knows one moment."""
        return self._symbols[market]

    def halts(self, market: Market, window: Window) -> list[Window]:
        """None: a recording does not say why a bar is missing."""
        return []

    def archive_symbols(self, market: Market) -> list[str]:
        return sorted({symbol for of, symbol, _ in self._files if of is market} | self._zips.symbols(market))

    def archive_span(self, market: Market, symbol: str, interval: str) -> Window | None:
        days = self._days(market, symbol, interval)
        return Window(days[0] * DAY_MS, (days[-1] + 1) * DAY_MS) if days else None

    def archived(self, market: Market, symbol: str, interval: str, period: Window) -> bool:
        """Whether every day of it was recorded: a month of two recorded days is no file of the exchange's."""
        wanted = range(period.start_ms // DAY_MS, period.end_ms // DAY_MS)
        return set(self._days(market, symbol, interval)).issuperset(wanted)

    def archive_csv(self, market: Market, symbol: str, interval: str, period: Window, *, micros: bool) -> bytes:
        days = range(period.start_ms // DAY_MS, period.end_ms // DAY_MS)
        bars = (bar for day in days for bar in self._day(market, symbol, interval, day))
        return "".join(bar.line(micros=micros) for bar in bars).encode()

    def recorded_below(self, folder: str) -> list[str]:
        return self._zips.below(folder)

    def recorded_zip(self, path: str) -> Path | None:
        return self._zips.find(path)

    def rows(self, query: KlineQuery, now_ms: int) -> list[str]:
        """The rows that answer a request. A bar still open at `now_ms` shows its open price, and of a longer bar what
        its finished minutes, if recorded, hold; what else the recording knows of it would be the future."""
        if query.symbol not in self._symbols[query.market]:
            raise invalid_symbol()
        first = query.start_ms or 0
        last = now_ms if query.end_ms is None else min(query.end_ms, now_ms)
        days = self._days(query.market, query.symbol, query.interval)
        days = [day for day in days if day * DAY_MS <= last and (day + 1) * DAY_MS > first]
        newest = query.start_ms is None
        chosen: list[RecordedBar] = []
        for bar in self._bars(query, days[::-1] if newest else days, newest=newest):
            if len(chosen) == query.limit:
                break
            if first <= bar.open_ms <= last:
                chosen.append(bar)
        if newest:
            chosen.reverse()
        if chosen and chosen[-1].open_ms + query.interval_ms > now_ms:
            chosen[-1] = self._running(query, chosen[-1], now_ms)
        return [bar.row(micros=query.micros) for bar in chosen]

    def _bars(self, query: KlineQuery, days: Iterable[int], *, newest: bool) -> Iterator[RecordedBar]:
        for day in days:
            bars = self._day(query.market, query.symbol, query.interval, day)
            yield from reversed(bars) if newest else bars

    def _running(self, query: KlineQuery, bar: RecordedBar, now_ms: int) -> RecordedBar:
        if query.interval_ms > MINUTE_MS:
            minutes = self._day(query.market, query.symbol, "1m", bar.open_ms // DAY_MS)
            over = [part for part in minutes if bar.open_ms <= part.open_ms <= now_ms - MINUTE_MS]
            if over:
                return aggregate_bars(over, query.interval_ms)[0]
        return just_opened(bar)

    def _days(self, market: Market, symbol: str, interval: str) -> list[int]:
        files = [*self._files.get((market, symbol, interval), ()), *self._files.get((market, symbol, "1m"), ())]
        days: set[int] = set()
        for file in files:
            days.update(range(file.period.start_ms // DAY_MS, file.period.end_ms // DAY_MS))
        return sorted(days)

    def _make_day(self, market: Market, symbol: str, interval: str, day: int) -> list[RecordedBar]:
        recorded: dict[int, RecordedBar] = {}
        files = self._files.get((market, symbol, interval), ())
        for file in sorted(files, key=lambda file: -file.period.length_ms):
            if day * DAY_MS in file.period:
                recorded.update((bar.open_ms, bar) for bar in self._read(file).get(day, ()))
        if recorded or interval == "1m":
            return [recorded[at] for at in sorted(recorded)]
        return aggregate_bars(self._day(market, symbol, "1m", day), INTERVAL_MS[interval])

    @staticmethod
    def _by_day(file: RecordedFile) -> dict[int, list[RecordedBar]]:
        days: dict[int, list[RecordedBar]] = {}
        for bar in read_bars(file):
            days.setdefault(bar.open_ms // DAY_MS, []).append(bar)
        return days

    def _derived(self, market: Market, symbol: str) -> Symbol:
        """A symbol object told from the bars: decimals, and the first bar as the listing."""
        files = [
            file for (of, name, _), files in self._files.items() if (of, name) == (market, symbol) for file in files
        ]
        first = min(files, key=lambda file: file.period)
        bars = read_bars(first)
        if not bars:
            raise ConfigError(f"{first.path} holds no bars")
        quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), None)
        if quote is None:
            raise ConfigError(f"{first.path}: cannot tell base and quote of {symbol}; no quote asset at its end")
        facts = SymbolFacts(
            raw_symbol=symbol,
            base=symbol.removesuffix(quote),
            quote=quote,
            status="TRADING",
            price_decimals=_decimals(bars, (0, 1, 2, 3)),
            tick_units=1,
            quantity_decimals=_decimals(bars, (4,)),
            onboard_ms=bars[0].open_ms,
            delivery_ms=PERPETUAL_SENTINEL_MS,
        )
        return um_symbol(facts) if market is Market.UM else spot_symbol(facts)


def _decimals(bars: list[RecordedBar], places: tuple[int, ...]) -> int:
    """Decimals that the values need: padding zeros say nothing of a tick."""
    texts = (bar.values[place].partition(".")[2].rstrip("0") for bar in bars for place in places)
    return max(len(text) for text in texts)


def _recorded_symbols(root: Path) -> dict[tuple[Market, str], Symbol]:
    """Symbol objects of exchangeInfo answers recorded below the folder, the newest answer's where several have one."""
    answers: list[tuple[int, Market, list[Any]]] = []
    for path in sorted(root.rglob("*exchangeInfo*.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            market = Market.UM if body.get("futuresType") == "U_MARGINED" else Market.SPOT
            answers.append((body["serverTime"], market, body["symbols"]))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path} is no recorded exchangeInfo: {error!r}") from None
    found: dict[tuple[Market, str], Symbol] = {}
    for _, market, symbols in sorted(answers, key=lambda answer: answer[0]):
        found.update(((market, symbol["symbol"]), symbol) for symbol in symbols)
    return found
