"""What goes to MySQL beside Redis: closed bars, liquidations, open interest. Without a database there is none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from gapless.config import Settings
from gapless.domain.instrument import Instrument, Market
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.continuity.bars import Wanted
from streamer.operations.request import StreamRequest
from streamer.operations.settings_file import StreamerSettings
from streamer.operations.status import BarsStatus


class Stores:
    """Takes what is to be stored; never waits."""

    def on_bar(self, spec: StreamSpec, kline: Kline, received_ns: int) -> None:
        """A closed bar."""

    def on_liquidation(self, spec: StreamSpec, order: ForceOrder, received_ns: int) -> None:
        """A liquidation."""

    def want_bars(self, market: Market, wanted: Sequence[Wanted]) -> None:
        """Bars that the stream did not send: to be asked of REST, stored, and confirmed."""

    def want(self, instruments: Sequence[Instrument]) -> None:
        """These are streamed now."""

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.Event().wait()

    async def drain(self, timeout_s: float) -> bool:
        """Store what waits. False: some of it waits on disk."""
        return True

    def status(self) -> BarsStatus | None:
        """How it stands; None where nothing is stored."""
        return None


@asynccontextmanager
async def open_stores(
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    sidecar: object,
    rests: Mapping[Market, BinanceRest],
    *,
    say: Callable[[str], None],
) -> AsyncIterator[Stores]:
    """The stores of a session."""
    if settings.mysql_url is None:
        say("closed bars go to Redis alone: GAPLESS_MYSQL_URL is not set")
    yield Stores()
