"""What goes to MySQL beside Redis: closed bars, liquidations, open interest. Without a database there is none of it,
but for the newest open interest, which is a key of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gapless.domain.instrument import Instrument, Market
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.monitoring.exposition import Sample
from streamer.continuity.bars import Wanted
from streamer.derivatives.open_interest import OpenInterestPoll
from streamer.operations.status import BarsStatus

if TYPE_CHECKING:
    pass


class Stores:
    """Takes what is to be stored; never waits."""

    def __init__(self, poll: OpenInterestPoll | None) -> None:
        self._poll = poll

    def on_bar(self, spec: StreamSpec, kline: Kline, received_ns: int) -> None:
        """A closed bar."""

    def on_liquidation(self, spec: StreamSpec, order: ForceOrder, received_ns: int) -> None:
        """A liquidation."""

    def want_bars(self, market: Market, wanted: Sequence[Wanted]) -> None:
        """Bars that the stream did not send: to be asked of REST, stored, and confirmed."""

    def want(self, instruments: Sequence[Instrument]) -> None:
        """These are streamed now."""
        if self._poll is not None:
            self._poll.follow(instruments)

    async def run(self) -> None:
        """Until cancelled."""
        if self._poll is None:
            await asyncio.Event().wait()
        else:
            await self._poll.run()

    async def drain(self, timeout_s: float) -> bool:
        """Store what waits. False: some of it waits on disk."""
        return True

    def status(self) -> BarsStatus | None:
        """How it stands; None where nothing is stored."""
        return None

    def samples(self) -> Iterator[Sample]:
        """What the status does not know."""
        yield from ()
