"""The sidecar's metrics: agreed names, one series a symbol at most, and the list in the documentation."""

from __future__ import annotations

import re

import pytest

from gapless.config import project_root
from gapless.errors import ValidationError
from gapless.monitoring.catalogue import Kind
from gapless.monitoring.exposition import Distribution, Sample, exposition
from gapless.monitoring.live_catalogue import DELAY_BOUNDS_MS, LIVE_CATALOGUE, OTHERS
from streamer.operations.metrics import delays_sample, samples_of
from streamer.operations.status import BookStatus, LaneStatus, StreamStatus
from tests.streamer.operations.samples import status

AGREED = {
    "collector_in_msgs_total": ("exchange", "symbol"),
    "ws_reconnects_total": ("exchange",),
    "dq_drop_counter": ("reason",),
}


def test_the_contract_s_names_are_there_with_its_labels() -> None:
    assert {name: LIVE_CATALOGUE[name].labels for name in AGREED} == AGREED
    for name in ("ws_message_latency_ms", "event_end2end_latency_ms", "db_upsert_duration_ms"):
        assert LIVE_CATALOGUE[name].kind is Kind.HISTOGRAM


def test_one_metric_alone_names_symbols() -> None:
    assert [m.name for m in LIVE_CATALOGUE.values() if "symbol" in m.labels] == ["collector_in_msgs_total"]


def test_the_page_lists_exactly_these() -> None:
    page = (project_root() / "docs" / "metrics.md").read_text()
    table = page.partition("<!-- live catalogue -->\n")[2].partition("<!-- end of live catalogue -->")[0]
    rows = [
        f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |"
        for m in LIVE_CATALOGUE.values()
    ]
    assert table.splitlines()[2:] == rows


def test_everything_that_a_status_holds_is_told() -> None:
    lanes = (
        LaneStatus(market="um", route="/market", state="open", streams=1, reconnects=2),
        LaneStatus(market="um", route="/public", state="waiting", streams=1, reconnects=1),
    )
    book = BookStatus(market="um", symbol="A", state="stale", resyncs=3)
    samples = list(samples_of(status(lanes=lanes, books=(book,)), ready=True, most_symbols=9))
    text = exposition(samples, LIVE_CATALOGUE).decode()
    for line in (
        'ws_connections{market="um",state="open"} 1.0',
        'ws_connections{market="um",state="waiting"} 1.0',
        'ws_reconnects_total{exchange="binance"} 3.0',
        'streamer_books{market="um",state="live"} 0.0',
        'streamer_books{market="um",state="stale"} 1.0',
        'streamer_book_resyncs_total{market="um"} 3.0',
        'streamer_filled_total{kind="trades",market="um"} 3.0',
        'exchange_clock_offset_ms{market="um"} -3.0',
        'streamer_shed_total{kind="depth"} 1.0',
        "streamer_redis_acknowledged_total 15.0",
        'streamer_gap_events_total{reason="hole"} 1.0',
        "streamer_bar_lag_seconds 3.1",
    ):
        assert f"\n{line}\n" in text, line
    told = {name for name in LIVE_CATALOGUE if re.search(rf"^{name}[ {{]", text, re.M)}
    histograms = {name for name, metric in LIVE_CATALOGUE.items() if metric.kind is Kind.HISTOGRAM}
    assert set(LIVE_CATALOGUE) - told - histograms == {"dq_drop_counter"}, "nothing was refused"


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for metric in LIVE_CATALOGUE.values():
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name


def test_symbols_beyond_the_bound_are_together() -> None:
    streams = tuple(
        StreamStatus(kind=kind, market="um", symbol=f"C{n}", messages=1)
        for n in range(10)
        for kind in ("trades", "depth")
    )
    samples = samples_of(status(streams=streams), ready=True, most_symbols=3)
    counts = {s.labels[1]: s.value for s in samples if s.name == "collector_in_msgs_total"}
    assert counts == {"C0": 2, "C1": 2, "C2": 2, OTHERS: 14}


def test_a_histogram_needs_a_distribution_and_nothing_else_has_one() -> None:
    below = tuple(range(len(DELAY_BOUNDS_MS) + 1))
    good = delays_sample("ws_message_latency_ms", below, 7.0, ("um",))
    text = exposition([good], LIVE_CATALOGUE).decode()
    assert 'ws_message_latency_ms_bucket{le="+Inf",market="um"} 14.0' in text
    assert 'ws_message_latency_ms_count{market="um"} 14.0' in text
    for wrong in (Sample("ws_message_latency_ms", 1.0, ("um",)), Sample("streamer_ready", Distribution((), (0,), 0))):
        with pytest.raises(ValidationError, match="has no value like"):
            exposition([wrong], LIVE_CATALOGUE)
