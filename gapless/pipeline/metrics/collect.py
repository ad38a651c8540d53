"""One look at the books, as samples."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import msgspec

from gapless.domain.interval import ALL_INTERVALS
from gapless.errors import GaplessError, StorageError
from gapless.monitoring.catalogue import CATALOGUE
from gapless.monitoring.exposition import Sample
from gapless.pipeline.calendar import MonthRow
from gapless.pipeline.completeness import KIND as COMPLETENESS
from gapless.pipeline.housekeeping import TAKEN
from gapless.pipeline.metrics.exchange_time import ExchangeTime
from gapless.pipeline.metrics.lag import LagWatch
from gapless.pipeline.metrics.live import stream_archive
from gapless.pipeline.metrics.months import books, months
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import count_quarantined
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, read_checks, read_counters
from gapless.storage.mysql.reviews import WAITING, count_reviews
from gapless.storage.mysql.totals import (
    NewestCheck,
    count_gap_rows,
    count_open_pages,
    oldest_open_gap_ms,
    read_newest_checks,
)

MONTHS_TOLD = 13
_COUNTERS = ("missing_bars", "job_success", "job_failure")
_NOT_FOUND_OUT = frozenset({"seed", "wanted", TAKEN})
"""Numbers in a check's result that say what it was asked, or when; not what it found."""


def collect(rt: Runtime, clock: ExchangeTime, lags: LagWatch) -> list[Sample]:
    """The values of now; of a database that does not answer only that it does not."""
    began = time.monotonic()
    try:
        checks = read_newest_checks(rt.db)
        samples = [
            *_counters(rt),
            *(Sample("dq_drop_counter", rows, (reason,)) for reason, rows in count_quarantined(rt.db).items()),
            *_gaps(rt, clock),
            *(sample for check in checks for sample in _check(check)),
            *books(checks),
            *months(rt, clock.now_ms()),
            Sample("review_waiting", count_reviews(rt.db).get(WAITING, 0)),
            Sample("pages_open", count_open_pages(rt.db)),
            *_completeness(read_checks(rt.db, kinds=[COMPLETENESS])),
            *_lag(rt, clock, lags),
            *stream_archive(rt.settings),
        ]
    except StorageError as error:
        rt.say(f"no metrics but gapless_up: {error}")
        return [Sample("gapless_up", 0)]
    ahead_ms = clock.host_ahead_ms
    return [
        Sample("gapless_up", 1),
        Sample("gapless_collect_seconds", round(time.monotonic() - began, 6)),
        *([] if ahead_ms is None else [Sample("exchange_clock_offset_seconds", ahead_ms / 1000)]),
        *samples,
    ]


def _counters(rt: Runtime) -> Iterator[Sample]:
    """Totals of the books. Missing bars are told of every interval, so that the first one is seen as an increase."""
    totals = read_counters(rt.db)
    missing = dict.fromkeys(((("interval", str(each)),) for each in ALL_INTERVALS), 0)
    totals["missing_bars"] = missing | totals.get("missing_bars", {})
    for name in _COUNTERS:
        metric = CATALOGUE[f"{name}_total"]
        for labels, total in totals.get(name, {}).items():
            values = dict(labels)
            if set(values) == set(metric.labels):
                yield Sample(metric.name, total, tuple(values[label] for label in metric.labels))


def _gaps(rt: Runtime, clock: ExchangeTime) -> Iterator[Sample]:
    yield from (Sample("gap_rows", rows, labels) for labels, rows in count_gap_rows(rt.db).items())
    noticed_ms = oldest_open_gap_ms(rt.db)
    age_ms = 0 if noticed_ms is None else max(0, clock.host_now_ms() - noticed_ms)
    yield Sample("gap_oldest_open_seconds", age_ms / 1000)


def _check(check: NewestCheck) -> Iterator[Sample]:
    """State, time, and every number at the top of the result."""
    labels = (check.kind, check.dataset)
    yield Sample("check_finished_timestamp_seconds", check.finished_ms / 1000, labels)
    for state in (CLEAN, DIRTY, FAILED):
        yield Sample("check_state", int(check.state == state), (*labels, state))
    for name, value in check.result.items():
        if isinstance(value, int) and not isinstance(value, bool) and name not in _NOT_FOUND_OUT:
            yield Sample("check_rows", value, (*labels, name))


def _completeness(runs: Iterable[CheckRun]) -> Iterator[Sample]:
    """Of the newest months; a month is measured again and again, and its run replaced."""
    months = {run.window.start_ms: run for run in runs}
    for start in sorted(months)[-MONTHS_TOLD:]:
        for row in msgspec.convert(months[start].result["rows"], list[MonthRow]):
            fillable = row.expected - row.unfillable
            share = row.present / fillable if fillable else 1.0
            yield Sample("completeness_ratio", share, (row.market, row.interval, row.month))


def _lag(rt: Runtime, clock: ExchangeTime, lags: LagWatch) -> Iterator[Sample]:
    """A watchlist that cannot be read takes the lag away and nothing else."""
    try:
        measured = lags.measure(rt, clock.now_ms())
    except StorageError:
        raise
    except GaplessError as error:
        rt.say(f"ingest_lag_seconds cannot be told: {error}")
        return
    for each in measured:
        yield Sample("ingest_lag_seconds", each.lag_ms / 1000, (f"{EXCHANGE}_{each.market}", str(each.interval)))
