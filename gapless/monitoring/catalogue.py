"""The metrics that Gapless tells of itself: name, kind, labels, meaning. `docs/metrics.md` is this list, for readers.

Labels name few things: markets, intervals, states, jobs, reasons; never a symbol, or a store of 600 instruments would
make thousands of series of each metric. What the live sidecar tells is in `live_catalogue`, with the one exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a metric behaves over time. `unknown`: a total whose agreed name does not end in `_total`; Prometheus takes
    its rate all the same."""

    COUNTER = "counter"
    GAUGE = "gauge"
    UNKNOWN = "unknown"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is scraped.

    Attributes:
        name: in full; a counter's ends in `_total`.
        labels: every sample has exactly these.
        help: what a value says, with its unit.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_ALL = (
    Metric(
        "gapless_up",
        Kind.GAUGE,
        (),
        "1 when the database answered and all other metrics are of now; 0 when it did not, and they are absent.",
    ),
    Metric("gapless_collect_seconds", Kind.GAUGE, (), "How long it took to read the values of this scrape."),
    Metric(
        "ingest_lag_seconds",
        Kind.GAUGE,
        ("source", "interval"),
        "How long ago the oldest closed bar that is not yet stored closed, on the exchange's clock; 0 when all are."
        " The worst of the trading instruments of the watchlist. source: exchange and market, binance_um.",
    ),
    Metric(
        "exchange_clock_offset_seconds",
        Kind.GAUGE,
        (),
        "How far this host's clock is ahead of the exchange's (negative: behind); absent while it is not known.",
    ),
    Metric(
        "missing_bars_total",
        Kind.COUNTER,
        ("interval",),
        "Bars that the exchange had and no store did, counted when a comparison first noticed them; refilled or not.",
    ),
    Metric(
        "dq_drop_counter",
        Kind.UNKNOWN,
        ("reason",),
        "Rows that were refused into quarantine, by the rule that they broke. A total.",
    ),
    Metric("job_success_total", Kind.COUNTER, ("job",), "Runs of a DAG that ended well."),
    Metric("job_failure_total", Kind.COUNTER, ("job",), "Runs of a DAG that failed."),
    Metric(
        "gap_rows",
        Kind.GAUGE,
        ("dataset", "interval", "state"),
        "Rows in the gap log by state: open, refilling, failed (a person must look), unfillable (the exchange has none)"
        ", filled. interval is empty where the dataset has none.",
    ),
    Metric(
        "gap_oldest_open_seconds",
        Kind.GAUGE,
        (),
        "How long ago the oldest gap that is still open, refilling or failed was noticed; 0 when there is none.",
    ),
    Metric(
        "check_state",
        Kind.GAUGE,
        ("kind", "dataset", "state"),
        "1 for the state in which the newest run of a check ended, 0 for the others: clean, dirty (it found something),"
        " failed (it could not be done).",
    ),
    Metric(
        "check_finished_timestamp_seconds",
        Kind.GAUGE,
        ("kind", "dataset"),
        "When the newest run of a check ended, seconds since 1970.",
    ),
    Metric(
        "check_rows",
        Kind.GAUGE,
        ("kind", "dataset", "result"),
        "What the newest run of a check counted: checked, missing, different, mismatching, and what else it reports.",
    ),
    Metric("review_waiting", Kind.GAUGE, (), "Rows of the review queue that wait for a person's yes or no."),
    Metric("pages_open", Kind.GAUGE, (), "Pages that were sent, or are to be, and are not resolved."),
    Metric(
        "completeness_ratio",
        Kind.GAUGE,
        ("market", "interval", "month"),
        "Share of the bars which the exchange has of a UTC month (2026-11) that is stored, 0 to 1, as last measured;"
        " of the last 13 months. 1 means all, to the bar.",
    ),
    Metric(
        "partition_months_ahead",
        Kind.GAUGE,
        ("table",),
        "How many months after the current one have a partition, without a hole; 2 right after housekeeping_daily.",
    ),
    Metric(
        "partition_stray_rows",
        Kind.GAUGE,
        ("table", "partition"),
        "Rows in p_before and pmax, which belong to no month and never leave; must be 0. Counted up to 10000.",
    ),
    Metric(
        "archived_months",
        Kind.GAUGE,
        ("dataset", "state"),
        "Months that are on their way to the lake or there, by the state of their last export: copying, leaving,"
        " verified, dropped (MySQL holds them no longer), restored (brought back on purpose).",
    ),
    Metric(
        "books_exported_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the snapshot of the books' newest daily export was taken, seconds since 1970; absent before the first.",
    ),
    Metric(
        "stream_archive_consumers",
        Kind.GAUGE,
        (),
        "How many consumers take the live Streams to disk; 0 when Redis does not answer, absent when none is"
        " configured.",
    ),
    Metric(
        "stream_archive_alarms",
        Kind.GAUGE,
        (),
        "Alarms of the consumers: entries will be lost when nothing is done. gapless archive-streams --status says"
        " what.",
    ),
    Metric(
        "stream_archive_oldest_untaken_seconds",
        Kind.GAUGE,
        ("kind",),
        "How long the oldest entry of the live Streams has waited that is not safe on disk; 0 when all are.",
    ),
    Metric(
        "stream_archive_lost_entries",
        Kind.GAUGE,
        ("kind",),
        "Entries removed from the live Streams before they were taken, since the consumers started.",
    ),
    Metric("stream_archive_spool_bytes", Kind.GAUGE, (), "What was taken from the live Streams and waits on disk."),
)

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""By name, in the order in which they are told."""
