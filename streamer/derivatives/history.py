"""Open interest and ratios into MySQL: the exchange's own history, of what is lacking, hourly, whole rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.instrument import Instrument, Market
from gapless.domain.keys import millis_of
from gapless.domain.window import HOUR_MS, Window
from gapless.errors import ExchangeError, StorageError
from gapless.exchanges.binance.metrics import STEP_MS
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import fetch_metrics
from gapless.exchanges.binance.series_rows import ParsedRows
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.storage.mysql import Draft, MySql, RefusedRow, Scope, load_rows, read_rows
from streamer.bars.thread import OneThread
from streamer.derivatives.settings import DerivativeSettings

LIVE_METRICS = "live:futures_metrics"
_SHAPE = SHAPES[Dataset.METRICS]
_TOGETHER = 25
"""Symbols that are stored at once, so that an hour of 600 leaves two dozen receipts."""
_LONGEST_SPACING_S = 6.0
"""Few symbols are not spread over an hour: theirs would be stored at its end."""


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
            began, spacing_s = time.monotonic(), min(_LONGEST_SPACING_S, self._settings.history_s / len(symbols))
            for at in range(0, len(symbols), _TOGETHER):
                await self.bring(rest, symbols[at : at + _TOGETHER], spacing_s=spacing_s)
            await asyncio.sleep(max(0.0, began + self._settings.history_s - time.monotonic()))

    async def bring(self, rest: BinanceRest, instruments: Sequence[Instrument], *, spacing_s: float = 0.0) -> int:
        """What is lacking of some symbols, one asked for after another, stored together; how many rows that were."""
        found: list[ParsedRows] = []
        try:
            window, lacking = await self._lacking(rest, instruments)
            for instrument in instruments:
                began = time.monotonic()
                if opens := lacking.get(instrument.symbol):
                    await self._ask(rest, instrument, opens, found)
                await asyncio.sleep(max(0.0, began + spacing_s - time.monotonic()))
            done = await self._thread.do(self._store, window, found, lacking) if found else 0
        except (StorageError, ExchangeError, LookupError) as error:
            self.skipped += len(instruments)
            self._tell(f"open interest history of {instruments[0].symbol} and others is left to the next hour: {error}")
            await asyncio.sleep(spacing_s * len(instruments))
            return 0
        self.brought += done
        return done

    async def _ask(
        self, rest: BinanceRest, instrument: Instrument, opens: Sequence[int], found: list[ParsedRows]
    ) -> None:
        asked = Window(opens[0], opens[-1] + STEP_MS)
        try:
            found.append(await fetch_metrics(rest, instrument.raw_symbol, instrument.symbol, asked))
        except ExchangeError as error:
            self.skipped += 1
            self._tell(f"open interest history of {instrument.symbol} is left to the next hour: {error}")
        else:
            self._said = ""

    def _tell(self, text: str) -> None:
        """Once, until it is well again: of a ban all symbols would speak."""
        if not self._said:
            self._say(text)
        self._said = text

    async def _lacking(
        self, rest: BinanceRest, instruments: Sequence[Instrument]
    ) -> tuple[Window, dict[str, list[int]]]:
        """Which five minutes of each symbol are not stored, ascending."""
        end_ms = rest.clock.now_ms() - int(self._settings.history_settle_s * 1000)
        end_ms -= end_ms % STEP_MS
        start_ms = end_ms - int(self._settings.history_window_s * 1000)
        window = Window(start_ms + -start_ms % STEP_MS, end_ms)
        symbols = [each.symbol for each in instruments]
        stored = await self._thread.do(read_rows, self._db, Dataset.METRICS, EXCHANGE, symbols, window)
        have = set(zip(stored["symbol"].to_pylist(), millis_of(stored["ts"]).tolist(), strict=True))
        grid = range(window.start_ms, window.end_ms, STEP_MS)
        return window, {
            each.symbol: [at for at in grid if at >= (each.listed_ms or 0) and (each.symbol, at) not in have]
            for each in instruments
        }

    def _store(self, window: Window, found: Sequence[ParsedRows], lacking: Mapping[str, Sequence[int]]) -> int:
        wanted = {(symbol, at) for symbol, opens in lacking.items() for at in opens}
        rows = pa.concat_tables([each.rows for each in found])
        keys = zip(rows["symbol"].to_pylist(), millis_of(rows["ts"]).tolist(), strict=True)
        rows = rows.filter(pa.array([key in wanted for key in keys], pa.bool_()))
        refused = [
            RefusedRow(EXCHANGE, row.symbol, "", row.ts, row.reason, row.raw, dataset=str(Dataset.METRICS))
            for each in found
            for row in each.rejected
            if row.reason != "duplicate"
        ]
        if not rows.num_rows and not refused:
            return 0
        hour = str(window.end_ms // HOUR_MS)
        key = sha256("\0".join(("live", "metrics", EXCHANGE, self._shard, hour)).encode()).hexdigest()[:16]
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
