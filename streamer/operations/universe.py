"""Which instruments are streamed, and following that while it changes: the list, the listings, a signal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gapless.domain.instrument import Instrument, Market
from gapless.domain.universe import by_market, resolve
from gapless.errors import ConfigError, ExchangeError, GaplessError, RegionRefused
from gapless.pipeline.watchlist import read_watchlist
from streamer.operations.request import StreamRequest
from streamer.operations.settings import OperationsSettings
from streamer.operations.shards import Shard

Listing = Callable[[Market], Awaitable[Sequence[Instrument]]]
"""What a market lists now; `BinanceRest.instruments` of its client."""
OnChange = Callable[[Sequence[Instrument]], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a list of symbols comes to.

    Attributes:
        instruments: those that trade and are this shard's, markets in order, each once.
        unknown: names that the exchange does not know. halted: symbols named one by one that do not trade now.
        found: how many of all shards trade.
    """

    instruments: tuple[Instrument, ...]
    unknown: tuple[str, ...]
    halted: tuple[str, ...]
    found: int


def choose(specs: Mapping[Market, str], listed: Mapping[Market, Sequence[Instrument]], shard: Shard) -> Choice:
    """The instruments that the names mean. Pure.

    Args:
        specs: by market, comma-separated names, `all`, or `all:USDT`.
        listed: what each of these markets lists.
    """
    chosen: list[Instrument] = []
    unknown: list[str] = []
    halted: list[str] = []
    for market, spec in specs.items():
        found, missing = resolve(spec, listed[market], market)
        named = {word.strip() for word in spec.split(",")}
        chosen += [each for each in found if each.trading]
        unknown += missing
        halted += [each.symbol for each in found if not each.trading and named & {each.symbol, each.raw_symbol}]
    return Choice(tuple(shard.share(chosen)), tuple(unknown), tuple(halted), len(chosen))


class Universe:
    """The instruments of a running sidecar.

    What is wrong when it starts is an error. What goes wrong later changes nothing: the last good answer stays, and
    the reason is said, once until it is another.

    Args:
        symbols_file: followed when the request names no symbols.
    """

    def __init__(
        self,
        request: StreamRequest,
        symbols_file: Path,
        listing: Listing,
        settings: OperationsSettings,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._request = request
        self._file = symbols_file
        self._listing = listing
        self._settings = settings
        self._say = say
        self._version: tuple[int, ...] = ()
        self._specs: dict[Market, str] = {}
        self._listed: dict[Market, Sequence[Instrument]] = {}
        self._told: dict[str, str] = {}
        self._now: tuple[Instrument, ...] = ()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Those of the last good answer."""
        return self._now

    async def first(self) -> tuple[Instrument, ...]:
        """Read the list and ask the exchange; before anything else. An exchange that is away is asked again.

        Raises:
            ConfigError: the list is wrong, or a name of the command line is unknown to the exchange.
            RegionRefused: the exchange refuses this address, which waiting does not change.
        """
        self._version = self._file_version()
        self._specs = self._read()
        self._listed = await self._ask_patiently(self._specs)
        choice = choose(self._specs, self._listed, self._request.shard)
        if self._request.symbols is not None and choice.unknown:
            raise ConfigError(f"the exchange does not know {', '.join(choice.unknown)}: check the spelling")
        if not choice.found:
            raise ConfigError("none of the symbols trades on the exchange: name others")
        self._take(choice)
        return self._now

    async def run(self, on_change: OnChange, reload: asyncio.Event) -> None:
        """Follow the list and the listings until cancelled; `on_change` is told all instruments whenever they differ.

        Args:
            reload: set to read both at once; cleared here.
        """
        loop = asyncio.get_running_loop()
        listed_s = loop.time()
        while True:
            try:
                async with asyncio.timeout(self._settings.follow_s):
                    await reload.wait()
            except TimeoutError:
                pass
            asked = reload.is_set()
            reload.clear()
            version = self._file_version()
            changed = asked or version != self._version
            if not changed and loop.time() - listed_s < self._settings.listings_s:
                continue
            self._version = version
            listed_s = loop.time()
            before = self._now
            await self._renew()
            if self._now != before:
                self._say(_difference(before, self._now))
                on_change(self._now)

    async def _renew(self) -> None:
        try:
            specs = self._read()
            listed = await self._ask(specs)
            choice = choose(specs, listed, self._request.shard)
            if not choice.found:
                raise ConfigError("none of the symbols trades on the exchange")
        except GaplessError as error:
            self._tell("refused", f"the instruments stay as they are: {error}")
            return
        self._told.pop("refused", None)
        self._specs, self._listed = specs, listed
        self._take(choice)

    def _take(self, choice: Choice) -> None:
        self._tell("unknown", _left_out(choice.unknown, "the exchange does not know"))
        self._tell("halted", _left_out(choice.halted, "these do not trade now:"))
        self._now = choice.instruments

    def _read(self) -> dict[Market, str]:
        request = self._request
        if request.symbols is not None:
            names = [word.strip() for word in request.symbols.split(",") if word.strip()]
            if not names:
                raise ConfigError("--symbols is empty: name symbols such as BTC/USDT,BTC/USDT:USDT, or all:USDT")
            return by_market(names, request.market)
        listed = read_watchlist(self._file).symbols
        specs = {market: spec for market, spec in listed.items() if request.market in (None, market)}
        if not specs:
            raise ConfigError(f"{self._file}: lists nothing of the market {request.market}")
        return specs

    async def _ask_patiently(self, markets: Iterable[Market]) -> dict[Market, Sequence[Instrument]]:
        pause_s = self._settings.first_pause_s
        while True:
            try:
                return await self._ask(markets)
            except RegionRefused:
                raise
            except ExchangeError as error:
                self._tell("away", f"the exchange does not say what it lists, asking again: {error}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_pause_s)

    async def _ask(self, markets: Iterable[Market]) -> dict[Market, Sequence[Instrument]]:
        return {market: await self._listing(market) for market in markets}

    def _file_version(self) -> tuple[int, ...]:
        """What tells whether the file changed; one that is away for a moment, while an editor swaps it, did not."""
        if self._request.symbols is not None:
            return ()
        try:
            stat = self._file.stat()
        except OSError:
            return self._version
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _tell(self, about: str, line: str) -> None:
        if line and self._told.get(about) != line:
            self._say(line)
        self._told[about] = line


def _left_out(names: Sequence[str], why: str, most: int = 10) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"left out, {why} {', '.join(names[:most])}{more}"


def _difference(before: Sequence[Instrument], now: Sequence[Instrument]) -> str:
    old, new = {each.symbol for each in before}, {each.symbol for each in now}
    parts = [
        f"{word} {len(names)} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
        for word, names in (("added", sorted(new - old)), ("removed", sorted(old - new)))
        if names
    ]
    return f"{len(now)} instruments: {'; '.join(parts) or 'their listing changed'}"
