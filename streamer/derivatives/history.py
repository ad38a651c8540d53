"""Open interest and ratios into MySQL: the exchange's own history, of what is lacking, hourly, whole rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Instrument, Market
from gapless.domain.keys import millis_of
from gapless.domain.window import HOUR_MS, Window
from gapless.errors import ExchangeError, StorageError
from gapless.exchanges.binance.metrics import STEP_MS
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import fetch_metrics
from gapless.exchanges.binance.series_rows import ParsedRows
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.storage.lake.digests import digests
from gapless.storage.mysql import Draft, MySql, RefusedRow, Scope, load_rows, read_rows
from streamer.bars.thread import OneThread
from streamer.derivatives.settings import DerivativeSettings

LIVE_METRICS = "live:futures_metrics"
_SHAPE = SHAPES[Dataset.METRICS]


class MetricsHistory:
    """Brings the five minutes that `futures_metrics` lacks, symbol after symbol, evenly over the hour.

    They are read where histories are read (`fetch_metrics`), so they are the same rows, of the same rank, and what
    comes after them finds nothing to restate.

    Args:
        thread: in which `db` is used. rests: by market, entered; markets may be added. shard: this process's.

    Attributes:
        brought: rows stored, since the start. skipped: symbols that were left to the next hour.
    """

    def __init__(
        self,
        db: MySql,
        thread: OneThread,
        rests: Mapping[Market, BinanceRest],
        settings: DerivativeSettings,
        *,
        shard: str,
        say: Callable[[str], None],
    ) -> None:
        self.brought = self.skipped = 0
        self._db = db
        self._thread = thread
        self._rests = rests
        self._settings = settings
        self._shard = shard
        self._say = say
        self._followed: list[Instrument] = []
        self._changed = asyncio.Event()
        self._said = ""

    def follow(self, instruments: Iterable[Instrument]) -> None:
        """These are streamed now."""
        self._followed = [each for each in instruments if each.market is Market.UM]
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            symbols, rest = list(self._followed), self._rests.get(Market.UM)
            if not symbols or rest is None:
                self._changed.clear()
                continue
            began = time.monotonic()
            for number, instrument in enumerate(symbols):
                due_s = began + self._settings.history_s * number / len(symbols)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                await self.bring(rest, instrument)
            await asyncio.sleep(max(0.0, began + self._settings.history_s - time.monotonic()))

    async def bring(self, rest: BinanceRest, instrument: Instrument) -> int:
        """What is lacking of one symbol; how many rows that were."""
        try:
            done = await self._bring(rest, instrument)
        except (ExchangeError, StorageError, LookupError) as error:
            self.skipped += 1
            if not self._said:
                self._say(f"open interest history of {instrument.symbol} is left to the next hour: {error}")
            self._said = str(error)
            return 0
        self._said = ""
        self.brought += done
        return done

    async def _bring(self, rest: BinanceRest, instrument: Instrument) -> int:
        end_ms = rest.clock.now_ms() - int(self._settings.history_settle_s * 1000)
        end_ms -= end_ms % STEP_MS
        start_ms = max(end_ms - int(self._settings.history_window_s * 1000), instrument.listed_ms or 0)
        start_ms += -start_ms % STEP_MS
        if start_ms >= end_ms:
            return 0
        window, symbol = Window(start_ms, end_ms), instrument.symbol
        stored = await self._thread.do(read_rows, self._db, Dataset.METRICS, EXCHANGE, [symbol], window)
        have = set(millis_of(stored["ts"]).tolist())
        lacking = [at for at in range(start_ms, end_ms, STEP_MS) if at not in have]
        if not lacking:
            return 0
        asked = Window(lacking[0], lacking[-1] + STEP_MS)
        found = await fetch_metrics(rest, instrument.raw_symbol, symbol, asked)
        return await self._thread.do(self._store, symbol, asked, found, lacking)

    def _store(self, symbol: str, window: Window, found: ParsedRows, lacking: list[int]) -> int:
        wanted = pa.array(lacking, pa.int64()).cast(found.rows["ts"].type)
        rows = found.rows.filter(pc.is_in(found.rows["ts"], wanted))
        hour = str(window.end_ms // HOUR_MS)
        key = sha256("\0".join(("live", "metrics", EXCHANGE, self._shard, symbol, hour)).encode()).hexdigest()[:16]
        refused = [
            RefusedRow(EXCHANGE, symbol, "", each.ts, each.reason, each.raw, dataset=str(Dataset.METRICS))
            for each in found.rejected
            if each.reason != "duplicate"
        ]
        if not rows.num_rows and not refused:
            return 0
        draft = Draft(
            batch_key=key,
            exchange=EXCHANGE,
            market=Market.UM,
            window=window,
            scope=Scope.of(()),
            complete=True,
            digest=digests(rows, _SHAPE)[0],
            dataset=LIVE_METRICS,
        )
        return load_rows(self._db, _SHAPE, rows, draft, refused=refused, only_lacking=True).counts.loaded
