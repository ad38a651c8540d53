"""The metrics that the live sidecar tells of itself. `docs/metrics.md` has this list too.

One label names symbols: that of `collector_in_msgs_total`, whose name and labels are agreed. It has one series for each
symbol of a process, not one for each of its streams, and no more than a bound; the rest is together in `(others)`.
"""

from __future__ import annotations

from typing import Final

from gapless.monitoring.catalogue import Kind, Metric

DELAY_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 60_000)
"""Upper bounds of the buckets of all histograms here, milliseconds."""
OTHERS: Final = "(others)"

_ALL = (
    Metric(
        "streamer_up", Kind.GAUGE, ("shard",), "1 while the sidecar runs; the shard is its share of the symbols, 0/4."
    ),
    Metric(
        "streamer_ready", Kind.GAUGE, (), "1 when readers get what is asked for: what /readyz says; 0 when they do not."
    ),
    Metric("streamer_started_timestamp_seconds", Kind.GAUGE, (), "When it started, seconds since 1970."),
    Metric(
        "collector_in_msgs_total",
        Kind.COUNTER,
        ("exchange", "symbol"),
        "Messages received, of all channels of a symbol; of symbols beyond a bound together as (others).",
    ),
    Metric("streamer_msgs_total", Kind.COUNTER, ("market", "kind"), "Messages received, by channel."),
    Metric(
        "streamer_silent_streams",
        Kind.GAUGE,
        ("market", "kind"),
        "Streams that ought to speak and do not; a watchdog asks for them again.",
    ),
    Metric(
        "streamer_last_event_age_seconds",
        Kind.GAUGE,
        ("market", "kind"),
        "How old the newest event of any symbol is.",
    ),
    Metric(
        "streamer_duplicates_total",
        Kind.COUNTER,
        ("market", "kind"),
        "Messages that came before, by another connection, and were not passed on again.",
    ),
    Metric("ws_connections", Kind.GAUGE, ("market", "state"), "Connections to the exchange by state; open is well."),
    Metric(
        "ws_reconnects_total",
        Kind.COUNTER,
        ("exchange",),
        "Connections that were lost and made again; a change of connections in order is not counted.",
    ),
    Metric(
        "ws_message_latency_ms",
        Kind.HISTOGRAM,
        ("market",),
        "From an event at the exchange to its receipt here, on the exchange's clock.",
    ),
    Metric(
        "event_end2end_latency_ms",
        Kind.HISTOGRAM,
        (),
        "From the receipt of a message to Redis' acknowledgement of its entry.",
    ),
    Metric(
        "dq_drop_counter",
        Kind.UNKNOWN,
        ("reason",),
        "Payloads that were not what their stream carries, and were put into quarantine. A total.",
    ),
    Metric(
        "exchange_clock_offset_ms",
        Kind.GAUGE,
        ("market",),
        "How far this host's clock is ahead of the exchange's (negative: behind); absent while it is not known.",
    ),
    Metric(
        "streamer_loop_lag_ms",
        Kind.GAUGE,
        (),
        "The longest that the process was busy with something else in the last seconds, when it should have read on.",
    ),
    Metric(
        "streamer_holes_open", Kind.GAUGE, ("market", "kind"), "Holes of the exchange's ids that wait to be filled."
    ),
    Metric(
        "streamer_filled_total", Kind.COUNTER, ("market", "kind"), "Ids that were missing and were brought by REST."
    ),
    Metric(
        "streamer_lost_total",
        Kind.COUNTER,
        ("market", "kind"),
        "Ids that were missing and could not be brought: md.gaps.",
    ),
    Metric("streamer_gap_events_total", Kind.COUNTER, ("reason",), "Events told in md.gaps, by their reason."),
    Metric("streamer_books", Kind.GAUGE, ("market", "state"), "Order books by state: empty, buffering, live, stale."),
    Metric("streamer_book_resyncs_total", Kind.COUNTER, ("market",), "Books that were given up and built anew."),
    Metric("streamer_book_crossed_total", Kind.COUNTER, ("market",), "Times that a book's best bid met its best ask."),
    Metric(
        "streamer_book_differences_total",
        Kind.COUNTER,
        ("market",),
        "Levels that differed when a book was compared with a snapshot of the exchange; must be 0.",
    ),
    Metric("streamer_redis_connected", Kind.GAUGE, (), "1 while Redis takes entries."),
    Metric("streamer_redis_acknowledged_total", Kind.COUNTER, (), "Entries that Redis acknowledged."),
    Metric("streamer_redis_resent_total", Kind.COUNTER, (), "Entries that were written twice after a cut."),
    Metric("streamer_redis_refused_total", Kind.COUNTER, (), "Entries that Redis will never take; must be 0."),
    Metric("streamer_outlet_waiting", Kind.GAUGE, (), "Entries that Redis has not acknowledged."),
    Metric("streamer_outlet_waiting_bytes", Kind.GAUGE, (), "How much they are; bounded."),
    Metric("streamer_outlet_oldest_seconds", Kind.GAUGE, (), "How long the oldest of them has waited."),
    Metric(
        "streamer_shed_total", Kind.COUNTER, ("kind",), "Entries folded together or dropped at the bound, as declared."
    ),
    Metric("streamer_spool_entries", Kind.GAUGE, (), "Trades that wait on disk for Redis."),
    Metric("streamer_spool_bytes", Kind.GAUGE, (), "How much they are; bounded."),
    Metric("streamer_spool_damaged_total", Kind.COUNTER, (), "Pieces of the spool that could not be read; must be 0."),
    Metric("streamer_gaps_untold_total", Kind.COUNTER, (), "Events of md.gaps let go for want of room; must be 0."),
    Metric("streamer_bars_stored_total", Kind.COUNTER, (), "Closed bars that MySQL took from the sidecar."),
    Metric("streamer_bars_waiting", Kind.GAUGE, ("where",), "Closed bars that it has not: in memory, or on disk."),
    Metric(
        "streamer_bars_patrolled_total", Kind.COUNTER, (), "Bars that the patrol found missing and brought by REST."
    ),
    Metric(
        "streamer_bar_lag_seconds",
        Kind.GAUGE,
        (),
        "From the close of a bar to MySQL having it, the longest of the last batch.",
    ),
    Metric("db_upsert_duration_ms", Kind.HISTOGRAM, (), "How long MySQL took for a batch of closed bars."),
    Metric("exchange_weight_used", Kind.GAUGE, ("market",), "Request weight of the running minute, of all processes."),
    Metric("exchange_weight_usable", Kind.GAUGE, ("market",), "How much of it may be used: the granted share."),
    Metric("exchange_halted", Kind.GAUGE, ("market",), "1 while the exchange refuses requests, by ban or limit."),
)

LIVE_CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""By name, in the order in which they are told."""
