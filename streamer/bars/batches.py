"""Bars and liquidations as canonical rows: exact or refused with the reason, each key once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from gapless.domain.instrument import Market
from gapless.domain.schema import OHLCV, Source
from gapless.domain.window import HOUR_MS, Window
from gapless.exchanges.binance.payloads import KLINES, parse_klines
from gapless.exchanges.binance.stream_rows import parse_stream
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.quality.rules import check_bars, interval_lengths, open_times
from gapless.storage.mysql import RefusedRow
from streamer.bars.items import BarItem, LiquidationItem

_LIQUIDATIONS = "liquidations"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for a table, and what was not taken of what was offered."""

    table: pa.Table
    refused: tuple[RefusedRow, ...]


def rounds(items: Iterable[BarItem]) -> Iterator[list[BarItem]]:
    """The bars in rounds that hold each key once, to be loaded one after another; what says the same again is let go.

    A bar that was closed twice with different values so replaces itself in the store as it would have from two
    batches, and leaves its restatement there.
    """
    versions: dict[tuple[str, str, int], list[BarItem]] = {}
    unreadable: list[BarItem] = []
    for item in items:
        if item.open_ms < 0:
            unreadable.append(item)
            continue
        before = versions.setdefault(item.key, [])
        if not before or (before[-1].row, before[-1].source) != (item.row, item.source):
            before.append(item)
    most = max(map(len, versions.values()), default=0)
    for number in range(max(most, 1 if unreadable else 0)):
        chosen = [versions[key][number] for key in sorted(versions) if len(versions[key]) > number]
        yield chosen if number else [*chosen, *unreadable]


def bar_rows(items: Sequence[BarItem]) -> Rows:
    """Bars of one round, held against the rules. What breaks one is refused with its text."""
    tables, refused = [KLINES.empty_table()], []
    for source in sorted({item.source for item in items}):
        chosen = [item for item in items if item.source == source]
        bodies = ((EXCHANGE, item.symbol, item.interval, f"[{item.row}]") for item in chosen)
        parsed, rejected = parse_klines(bodies, Source(source))
        tables.append(parsed)
        refused += [_refused(each.symbol, each.interval, each.ts, each.reason, each.raw) for each in rejected]
    bars = pa.concat_tables(tables)
    # The rules see to it that a series only goes forward, and a round may have a series from two sources.
    bars = bars.sort_by([(name, "ascending") for name in ("symbol", "interval", "ts")])
    checked = check_bars(bars)
    times = open_times(bars) if checked.broken else ()
    texts = {item.key: item.row for item in items} if checked.broken else {}
    for broken in checked.broken:
        symbol, interval = (bars[name][broken.row].as_py() for name in ("symbol", "interval"))
        at = int(times[broken.row])
        refused.append(_refused(symbol, interval, at, broken.reason, texts[symbol, interval, at]))
    return Rows(checked.good.select(OHLCV.names), tuple(refused))


def liquidation_rows(items: Sequence[LiquidationItem]) -> Rows:
    """Liquidations as rows of `gapless.domain.stream_columns.LIQUIDATIONS`, in the order they came."""
    entries = [_Entry(each.symbol, each.event_ms, each.received_ns, each.payload.encode()) for each in items]
    names: Mapping[str, str] = {each.symbol: each.raw_symbol for each in items}
    table, rejected = parse_stream(_LIQUIDATIONS, EXCHANGE, entries, names)
    refused = tuple(
        RefusedRow(
            exchange=EXCHANGE,
            symbol=each.symbol,
            interval="",
            ts_ms=each.event_ms,
            reason=each.reason,
            payload=each.payload.decode(errors="replace"),
            detail=each.detail,
            dataset="liquidation",
        )
        for each in rejected
    )
    return Rows(table, refused)


def window_of(bars: pa.Table) -> Window:
    """From the earliest open to the latest close; the first millisecond of 1970 where there are no bars."""
    if bars.num_rows == 0:
        return Window(0, 1)
    opens = open_times(bars)
    return Window(int(opens.min()), int((opens + interval_lengths(bars)).max()))


def batch_key(what: str, market: Market, shard: str, at_ms: int) -> str:
    """The work that a load belongs to: a shard's of an hour. Batches are small and many; what is kept of them is not
    one piece of work each, and a batch that is offered again after a kill belongs where it did."""
    parts = ("live", what, EXCHANGE, str(market), shard, str(at_ms // HOUR_MS))
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Entry:
    symbol: str
    event_ms: int
    received_ns: int
    payload: bytes


def _refused(symbol: str, interval: str, ts: int | None, reason: str, payload: str) -> RefusedRow:
    return RefusedRow(EXCHANGE, symbol, interval, ts, reason, payload)
