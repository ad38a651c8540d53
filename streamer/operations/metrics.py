"""The sidecar's metrics from its status: sums over streams, books and connections. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from gapless.monitoring.exposition import Distribution, Sample
from gapless.monitoring.live_catalogue import DELAY_BOUNDS_MS, OTHERS
from streamer.operations.status import BarsStatus, BookStatus, OutletStatus, StreamerStatus, StreamStatus

EXCHANGE = "binance"
_BOOK_STATES = ("empty", "buffering", "live", "stale")


def samples_of(status: StreamerStatus, *, ready: bool, most_symbols: int) -> Iterator[Sample]:
    """All that the status knows, by the names of `LIVE_CATALOGUE`. The histograms are the session's own.

    Args:
        most_symbols: how many symbols get a series of their own, those named first by the status.
    """
    yield Sample("streamer_up", 1, (status.shard,))
    yield Sample("streamer_ready", int(ready))
    yield Sample("streamer_started_timestamp_seconds", status.started_ms / 1000)
    yield Sample("streamer_loop_lag_ms", status.loop_lag_ms)
    yield from _received(status.streams, most_symbols)
    yield from _by_kind(status.streams)
    yield from _connections(status)
    yield from _books(status.books)
    for reason, count in status.refused.items():
        yield Sample("dq_drop_counter", count, (reason,))
    for reason, count in status.gaps.items():
        yield Sample("streamer_gap_events_total", count, (reason,))
    if status.outlet is not None:
        yield from _outlet(status.outlet)
    if status.bars is not None:
        yield from _bars(status.bars)
    for market in status.markets:
        label = (market.market,)
        yield Sample("exchange_halted", int(market.halted_until_ms > status.at_ms), label)
        for name, value in (
            ("exchange_clock_offset_ms", market.offset_ms),
            ("exchange_weight_used", market.used),
            ("exchange_weight_usable", market.usable),
        ):
            if value is not None:
                yield Sample(name, value, label)


def delays_sample(name: str, below: Iterable[int], total_ms: float, labels: tuple[str, ...] = ()) -> Sample:
    """A histogram of delays.

    Args:
        below: how many took at most each of `DELAY_BOUNDS_MS`, then how many there were.
        total_ms: the sum of all delays.
    """
    return Sample(name, Distribution(DELAY_BOUNDS_MS, tuple(below), total_ms), labels)


def _received(streams: Iterable[StreamStatus], most: int) -> Iterator[Sample]:
    by_symbol: Counter[str] = Counter()
    for stream in streams:
        known = stream.symbol in by_symbol or len(by_symbol) < most
        by_symbol[stream.symbol if known else OTHERS] += stream.messages
    for symbol, count in by_symbol.items():
        yield Sample("collector_in_msgs_total", count, (EXCHANGE, symbol))


def _by_kind(streams: Iterable[StreamStatus]) -> Iterator[Sample]:
    groups: dict[tuple[str, str], list[StreamStatus]] = {}
    for stream in streams:
        groups.setdefault((stream.market, stream.kind), []).append(stream)
    for label, group in groups.items():
        yield Sample("streamer_msgs_total", sum(each.messages for each in group), label)
        yield Sample("streamer_silent_streams", sum(each.silent for each in group), label)
        yield Sample("streamer_duplicates_total", sum(each.duplicates for each in group), label)
        yield Sample("streamer_holes_open", sum(each.holes_open for each in group), label)
        yield Sample("streamer_filled_total", sum(each.filled for each in group), label)
        yield Sample("streamer_lost_total", sum(each.lost for each in group), label)
        ages = [each.last_event_age_s for each in group if each.last_event_age_s is not None]
        if ages:
            yield Sample("streamer_last_event_age_seconds", min(ages), label)


def _connections(status: StreamerStatus) -> Iterator[Sample]:
    states = Counter((lane.market, lane.state) for lane in status.lanes)
    for market in {lane.market for lane in status.lanes}:
        yield Sample("ws_connections", states[market, "open"], (market, "open"))
    for label, count in states.items():
        if label[1] != "open":
            yield Sample("ws_connections", count, label)
    yield Sample("ws_reconnects_total", sum(lane.reconnects for lane in status.lanes), (EXCHANGE,))


def _books(books: Iterable[BookStatus]) -> Iterator[Sample]:
    groups: dict[str, list[BookStatus]] = {}
    for book in books:
        groups.setdefault(book.market, []).append(book)
    for market, group in groups.items():
        states = Counter(book.state for book in group)
        for state in dict.fromkeys((*_BOOK_STATES, *states)):
            yield Sample("streamer_books", states[state], (market, state))
        yield Sample("streamer_book_resyncs_total", sum(book.resyncs for book in group), (market,))
        yield Sample("streamer_book_crossed_total", sum(book.crossed for book in group), (market,))
        yield Sample("streamer_book_differences_total", sum(book.differences for book in group), (market,))


def _outlet(outlet: OutletStatus) -> Iterator[Sample]:
    values: Mapping[str, float] = {
        "streamer_redis_connected": int(outlet.connected),
        "streamer_redis_acknowledged_total": outlet.acknowledged,
        "streamer_redis_resent_total": outlet.resent,
        "streamer_outlet_waiting": outlet.waiting,
        "streamer_outlet_waiting_bytes": outlet.waiting_bytes,
        "streamer_outlet_oldest_seconds": outlet.oldest_s,
        "streamer_spool_entries": outlet.spooled,
        "streamer_spool_bytes": outlet.spool_bytes,
        "streamer_redis_refused_total": outlet.refused,
        "streamer_spool_damaged_total": outlet.damaged,
        "streamer_gaps_untold_total": outlet.untold,
    }
    for name, value in values.items():
        yield Sample(name, value)
    for kind, count in outlet.shed.items():
        yield Sample("streamer_shed_total", count, (kind,))


def _bars(bars: BarsStatus) -> Iterator[Sample]:
    yield Sample("streamer_bars_stored_total", bars.stored)
    yield Sample("streamer_bars_waiting", bars.waiting, ("memory",))
    yield Sample("streamer_bars_waiting", bars.spooled, ("disk",))
    yield Sample("streamer_bars_patrolled_total", bars.patrolled)
    if bars.lag_s is not None:
        yield Sample("streamer_bar_lag_seconds", bars.lag_s)
