"""Open interest, which has no stream: the newest of each symbol by paced polls, as a key of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from gapless.domain.instrument import Instrument, Market
from gapless.errors import ExchangeError
from gapless.exchanges.binance.live_rest import OpenInterest, open_interest
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.symbols import EXCHANGE
from streamer.derivatives.settings import DerivativeSettings

KEY_PREFIX = f"last.open_interest.{EXCHANGE}."


def open_interest_key(symbol: str) -> str:
    """`last.open_interest.binance.BTC/USDT:USDT`."""
    return f"{KEY_PREFIX}{symbol}"


def open_interest_value(symbol: str, found: OpenInterest, received_ns: int) -> bytes:
    """As other newest values are: when it was, when it was received, and what the exchange said."""
    return msgspec.json.encode(
        {
            "event_ms": found.time,
            "received_ns": received_ns,
            "state": "live",
            "data": {"openInterest": found.open_interest, "symbol": symbol, "time": found.time},
        }
    )


class OpenInterestPoll:
    """Asks for each USD-M symbol once in a period that is aligned on the exchange's clock, evenly over most of it.

    A symbol whose answer does not come in its period is left out, and counted: a late value would push the next ones.

    Args:
        rests: by market, entered; markets may be added. keep: writes a last value (key, JSON, ms until it expires).

    Attributes:
        asked, skipped: symbols, since the start.
    """

    def __init__(
        self,
        rests: Mapping[Market, BinanceRest],
        settings: DerivativeSettings,
        keep: Callable[[str, bytes, int], None],
        *,
        say: Callable[[str], None],
    ) -> None:
        self.asked = self.skipped = 0
        self._rests = rests
        self._settings = settings
        self._keep = keep
        self._say = say
        self._followed: list[Instrument] = []
        self._changed = asyncio.Event()
        self._said = ""

    def follow(self, instruments: Iterable[Instrument]) -> None:
        """These are streamed now."""
        self._followed = [each for each in instruments if each.market is Market.UM]
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled: at once, then in each period that begins."""
        while True:
            await self._changed.wait()
            rest = self._rests.get(Market.UM)
            if not self._followed or rest is None:
                self._changed.clear()
                continue
            period_ms = int(self._settings.poll_s * 1000)
            now_ms = rest.clock.now_ms()
            end_ms = now_ms - now_ms % period_ms + period_ms
            if end_ms - now_ms < period_ms // 2:
                end_ms += period_ms  # begun late in one: not all at once
            await self.sweep(rest, end_ms)
            await asyncio.sleep(max(0.0, (end_ms - rest.clock.now_ms()) / 1000))

    async def sweep(self, rest: BinanceRest, end_ms: int) -> None:
        """Ask for all symbols once, until the period's end by the exchange's clock."""
        symbols = list(self._followed)
        start_ms = rest.clock.now_ms()
        share_ms = (end_ms - start_ms) * self._settings.poll_share
        for number, instrument in enumerate(symbols):
            due_ms = start_ms + share_ms * number / len(symbols)
            await asyncio.sleep(max(0.0, due_ms - rest.clock.now_ms()) / 1000)
            left_ms = end_ms - rest.clock.now_ms()
            if left_ms <= 0:
                self.skipped += len(symbols) - number
                return
            try:
                async with asyncio.timeout(left_ms / 1000):
                    found = await open_interest(rest, instrument.raw_symbol)
            except (ExchangeError, TimeoutError) as error:
                self.skipped += 1
                if not self._said:
                    self._say(f"open interest of {instrument.symbol} is left out: {error or 'no answer in its period'}")
                self._said = str(error) or "late"
                continue
            self._said = ""
            self.asked += 1
            value = open_interest_value(instrument.raw_symbol, found, time.time_ns())
            self._keep(open_interest_key(instrument.symbol), value, int(self._settings.expires_s * 1000))
