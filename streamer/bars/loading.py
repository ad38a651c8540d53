"""A batch into MySQL by the loader's own path. Blocking: for a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapless.domain.instrument import Market
from gapless.domain.schema import content_digest
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.storage.mysql import Draft, MySql, Scope, load_bars
from gapless.storage.mysql.liquidations import load_liquidations
from streamer.bars.batches import bar_rows, batch_key, liquidation_rows, rounds, window_of
from streamer.bars.items import BarItem, Item, LiquidationItem

LIVE_BARS = "live:ohlcv"
"""The receipts' dataset. They cover no hour of any series: the hourly run takes each hour all the same, compares it bar
by bar, and brings it into the lake."""


@dataclass(slots=True)
class Loaded:
    """What became of the items of a batch.

    Attributes:
        bars: those that are in MySQL now. fresh: of them, those that it did not have.
        liquidations: new ones. refused: bars and liquidations that went to quarantine.
    """

    bars: int = 0
    fresh: int = 0
    liquidations: int = 0
    refused: int = 0


def load_items(db: MySql, items: Sequence[Item], *, shard: str, lock_wait_s: float) -> Loaded:
    """Store a batch. Safe to repeat, whole or in other pieces.

    Raises:
        ValidationError: these are not what a load takes. StorageError: MySQL is away, or would not take them.
    """
    done = Loaded()
    bars = [item for item in items if isinstance(item, BarItem)]
    for market in Market:
        for round_ in rounds(item for item in bars if item.market is market):
            _load_bars(db, market, round_, shard, lock_wait_s, done)
    liquidations = [item for item in items if isinstance(item, LiquidationItem)]
    if liquidations:
        rows = liquidation_rows(liquidations)
        key = batch_key("liquidation", Market.UM, shard, liquidations[0].event_ms)
        done.liquidations += load_liquidations(
            db, rows.table, refused=rows.refused, batch_key=key, lock_wait_s=lock_wait_s
        )
        done.refused += len(rows.refused)
    return done


def _load_bars(
    db: MySql, market: Market, items: Sequence[BarItem], shard: str, lock_wait_s: float, done: Loaded
) -> None:
    rows = bar_rows(items)
    window = window_of(rows.table)
    draft = Draft(
        batch_key=batch_key("ohlcv", market, shard, window.start_ms),
        exchange=EXCHANGE,
        market=market,
        window=window,
        scope=Scope.of(()),
        complete=True,
        digest=content_digest(rows.table),
        dataset=LIVE_BARS,
    )
    outcome = load_bars(db, rows.table, draft, refused=rows.refused, lock_wait_s=lock_wait_s)
    done.bars += outcome.counts.rows
    done.fresh += outcome.counts.loaded
    done.refused += len(rows.refused)
