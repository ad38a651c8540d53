"""The stores of a session with a database: bars, liquidations and open interest on their way into MySQL."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gapless.config import Settings
from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.live import Kind
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.monitoring.exposition import Sample
from gapless.storage.mysql import MySql
from gapless.storage.mysql.faults import RetryPolicy
from streamer.bars.confirming import Confirmer
from streamer.bars.patrol import Patrol
from streamer.bars.sink import BarSink
from streamer.derivatives.history import MetricsHistory
from streamer.derivatives.open_interest import OpenInterestPoll
from streamer.operations.request import StreamRequest
from streamer.operations.settings_file import StreamerSettings
from streamer.operations.status import BarsStatus
from streamer.stores import Stores

if TYPE_CHECKING:
    from streamer.sidecar import Sidecar

_RETRY = RetryPolicy(total_s=2.0, level=logging.INFO)
"""Deadlocks are waited out; a server that is away is the sink's affair, which tries again for as long as it takes, and
says so once."""
_CONNECTIONS = 3


class SqlStores(Stores):
    """`Stores` with a database."""

    keeps_bars = True

    def __init__(
        self,
        sink: BarSink,
        confirmer: Confirmer,
        patrol: Patrol | None,
        history: MetricsHistory | None,
        poll: OpenInterestPoll | None,
    ) -> None:
        super().__init__(poll, confirmer)
        self._sink = sink
        self._patrol = patrol
        self._history = history

    @property
    def takes_bars(self) -> bool:
        return self._sink.has_room

    def on_bar(self, spec: StreamSpec, kline: Kline, received_ns: int) -> None:
        self._sink.closed(spec.symbol, spec.market, kline, received_ns)

    def on_liquidation(self, spec: StreamSpec, order: ForceOrder, received_ns: int) -> None:
        self._sink.liquidation(spec.symbol, order, received_ns)

    def want(self, instruments: Sequence[Instrument]) -> None:
        super().want(instruments)
        for each in (self._patrol, self._history):
            if each is not None:
                each.follow(instruments)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._sink.run())
            for each in (self._patrol, self._history):
                if each is not None:
                    group.create_task(each.run())

    async def drain(self, timeout_s: float) -> bool:
        return await self._sink.drain(timeout_s)

    def status(self) -> BarsStatus:
        state = self._sink.state()
        return BarsStatus(
            connected=state.connected,
            stored=state.stored,
            waiting=state.memory + (state.disk if state.connected else 0),
            spooled=0 if state.connected else state.disk,
            lag_s=state.lag_s,
            patrolled=self._patrol.brought if self._patrol else 0,
            said=state.said,
        )

    def samples(self) -> Iterator[Sample]:
        yield Sample("db_upsert_duration_ms", self._sink.state().durations)


@contextmanager
def open_sql_stores(
    url: str,
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    sidecar: Sidecar,
    rests: Mapping[Market, BinanceRest],
    poll: OpenInterestPoll | None,
    *,
    say: Callable[[str], None],
) -> Iterator[Stores]:
    """See `streamer.opening.open_stores`."""
    db = MySql(
        url,
        retry=_RETRY,
        pool_size=_CONNECTIONS,
        statement_timeout_s=options.bars.statement_s,
    )
    shard = str(request.shard).replace("/", "-")

    sink = BarSink(
        db,
        settings.spool_dir / "bars" / shard,
        options.bars,
        shard=shard,
        tell=sidecar.tell,
        now_ms=lambda market: rests[market].clock.now_ms() if market in rests else time.time_ns() // 1_000_000,
        say=say,
    )
    intervals = [Interval(each) for each in request.intervals if each in frozenset(Interval)]
    with_bars = intervals and Kind.KLINES in request.channels
    patrol = Patrol(sink, db, rests, options.bars, intervals, say=say) if with_bars else None
    history = None
    if poll is not None:
        history = MetricsHistory(db, sink.thread, rests, options.derivatives, shard=shard, say=say)
    try:
        yield SqlStores(sink, Confirmer(sink.save, rests, options.bars, sidecar.bars_confirmed), patrol, history, poll)
    finally:
        db.close()
