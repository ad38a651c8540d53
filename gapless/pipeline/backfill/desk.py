"""Where a backfill's questions go: one archive, one REST client a market, each closed to further questions when it says
so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from gapless.domain.instrument import Market
from gapless.errors import BadSymbol, ExchangeError, RateLimited, RegionRefused, Unreachable
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.vision.archive import Archive
from gapless.exchanges.binance.vision.objects import ArchiveObject
from gapless.pipeline.backfill.archive import Parse, Taken, open_archive, take_file
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.backfill.request import SourceChoice, Watch
from gapless.pipeline.runtime import Runtime

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long one question waits for a network that is away, or an exchange in maintenance."""

_LONGEST_PAUSE_S = 15.0


@dataclass
class Desk:
    """What the sources of pieces share.

    Attributes:
        threads: for parsing.
        closed: why a market's REST is not asked any more: its ban or budget lasts longer than we wait.
        archive_closed: why the archive is not asked any more: it refuses this address.
        forgotten: raw symbols that the exchange does not know, with its answer; asked for once.
    """

    rt: Runtime
    archive: Archive
    threads: Executor
    source: SourceChoice
    watch: Watch
    now_ms: int
    clients: dict[Market, BinanceRest] = field(default_factory=dict)
    closed: dict[Market, ExchangeError] = field(default_factory=dict)
    archive_closed: ExchangeError | None = None
    forgotten: dict[tuple[Market, str], BadSymbol] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def file(self, obj: ArchiveObject, piece: Piece, parse: Parse) -> Taken | None:
        """A file of the archive, see `take_file`; an archive that refused us once is not asked again.

        Raises:
            ExchangeError: it did not answer, or refuses this address. StorageError: a rejected file could not be kept.
        """
        if self.archive_closed is not None:
            raise self.archive_closed
        try:
            taken = await take_file(self.rt, self.archive, self.threads, obj, piece, parse)
        except RegionRefused as error:
            self.archive_closed = error
            raise
        if taken is not None:
            self.watch.object_done(obj.name, taken.manifest.bytes)
        return taken

    async def ask(self, market: Market, question: Callable[[BinanceRest], Awaitable[T]]) -> T:
        """A question to a market's REST, put again while nobody answers: a network that is away is waited for.

        Raises:
            ExchangeError: it was closed to us before, for that reason; it does not answer for `PATIENCE_S`; or its
                answer is an error.
        """
        deadline = time.monotonic() + PATIENCE_S
        pause_s = 1.0
        while True:
            try:
                return await question(await self._client(market))
            except Unreachable as error:
                if time.monotonic() + pause_s > deadline:
                    raise
                self.watch.waiting(str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except (RateLimited, RegionRefused) as error:
                # Nobody is answered any more: asking for other series would only make it worse.
                self.closed.setdefault(market, error)
                raise

    async def _client(self, market: Market) -> BinanceRest:
        async with self._opening:
            if market in self.closed:
                raise self.closed[market]
            if market not in self.clients:
                self.clients[market] = await self._stack.enter_async_context(self.rt.exchange(market))
        return self.clients[market]

    def refuse_forgotten(self, market: Market, raw_symbol: str) -> None:
        """Raise the answer that the exchange gave for this symbol, if it was one that will not change.

        Raises:
            BadSymbol: it does not know the symbol.
        """
        if (market, raw_symbol) in self.forgotten:
            raise self.forgotten[market, raw_symbol]

    @property
    def requests(self) -> int:
        return self.archive.requests + sum(client.requests for client in self.clients.values())

    @property
    def weight(self) -> int:
        return sum(client.weight for client in self.clients.values())

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def open_desk(
    rt: Runtime, threads: Executor, source: SourceChoice, watch: Watch, now_ms: int
) -> AsyncIterator[Desk]:
    """A desk, its archive open."""
    async with open_archive(rt, watch.waiting) as archive:
        desk = Desk(rt, archive, threads, source, watch, now_ms)
        try:
            yield desk
        finally:
            await desk.close()
