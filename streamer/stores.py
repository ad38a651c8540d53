"""What goes to MySQL beside Redis: closed bars, liquidations, open interest.

Without a database none of it is kept. The newest open interest goes to Redis all the same, and REST is asked whether a
bar that was not sent is missing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from gapless.domain.instrument import Instrument, Market
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.monitoring.exposition import Sample
from streamer.bars.confirming import Confirmer
from streamer.continuity.bars import Wanted
from streamer.derivatives.open_interest import OpenInterestPoll
from streamer.operations.status import BarsStatus


class Stores:
    """Takes what is to be stored; never waits. This one has no database.

    Attributes:
        keeps_bars: whether bars are stored anywhere.
    """

    keeps_bars = False

    def __init__(self, poll: OpenInterestPoll | None, confirmer: Confirmer) -> None:
        self._poll = poll
        self._confirmer = confirmer

    @property
    def takes_bars(self) -> bool:
        """Whether answers about wanted bars could be kept now."""
        return True

    def on_bar(self, spec: StreamSpec, kline: Kline, received_ns: int) -> None:
        """A closed bar."""

    def on_liquidation(self, spec: StreamSpec, order: ForceOrder, received_ns: int) -> None:
        """A liquidation."""

    def want_bars(self, market: Market, wanted: Sequence[Wanted]) -> None:
        """Bars that the stream did not send: to be asked of REST, stored, and confirmed."""
        self._confirmer.want(market, wanted)

    def want(self, instruments: Sequence[Instrument]) -> None:
        """These are streamed now."""
        self._confirmer.follow(instruments)
        if self._poll is not None:
            self._poll.follow(instruments)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._confirmer.run())
            if self._poll is not None:
                group.create_task(self._poll.run())

    async def drain(self, timeout_s: float) -> bool:
        """Store what waits. False: some of it waits on disk."""
        return True

    def status(self) -> BarsStatus | None:
        """How it stands; None where nothing is stored."""
        return None

    def samples(self) -> Iterator[Sample]:
        """What the status does not know."""
        yield from ()
