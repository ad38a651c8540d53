"""What a comparison of one market works with, whatever the dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from gapless.exchanges.binance.rest import BinanceRest
from gapless.pipeline.reconcile.bars import Theirs
from gapless.pipeline.reconcile.closing import SlabResult, close
from gapless.pipeline.reconcile.judgement import Judged
from gapless.pipeline.reconcile.repair import Stores
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.reconcile.stored import Stored
from gapless.pipeline.reconcile.witness import Witness

T = TypeVar("T")

OnSlab = Callable[[Slab, SlabResult], None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison under way.

    Attributes:
        stores: of the market. witness: the archive, asked about stored rows that REST denies.
        threads: for what blocks.
        fill: repair what is found. waits_s: how long after an attempt the next one is due.
        on_slab: told of each slab that came to its end, from the event loop.
    """

    stores: Stores
    rest: BinanceRest
    witness: Witness
    threads: ThreadPoolExecutor
    fill: bool
    waits_s: Sequence[float]
    on_slab: OnSlab

    def thread(self, work: Callable[[], T]) -> Awaitable[T]:
        """Do something that blocks beside the event loop."""
        return asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def close(self, slab: Slab, judged: Judged, theirs: Theirs, stored: Stored) -> SlabResult:
        """Bring a slab that was judged to its end; see `closing.close`."""
        return await self.thread(
            lambda: close(self.stores, slab, judged, theirs, stored, fill=self.fill, waits_s=self.waits_s)
        )
