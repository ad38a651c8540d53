"""The daily rules over everything that is stored of a day, and what becomes of what they find."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Instrument
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.schema import OHLCV_VALUES, decimal_text
from gapless.domain.window import DAY_MS, Window, from_ms, merge
from gapless.errors import ConfigError, StorageError
from gapless.pipeline.quality.batch import read_stored_bars
from gapless.pipeline.quality.judgement import Doubt, Known, Series, judge
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.daily.divergence import coin_of, pairs_of
from gapless.quality.daily.findings import CRITICAL, Finding, Findings
from gapless.quality.daily.thresholds import read_thresholds
from gapless.storage.mysql import count_days, read_gaps, read_instruments, read_lives
from gapless.storage.mysql.archive import read_archive_days
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, put_check
from gapless.storage.mysql.reviews import (
    WAITING,
    Review,
    count_reviews,
    put_reviews,
    read_reviews,
    supersede_reviews,
)

KIND = "rules"
"""The kind of these check runs."""

_ROWS_AT_ONCE = 100_000
_LOOK_BACK_MS = 30 * DAY_MS
_FOR_EVER_MS = 1 << 52


class RulesReport(msgspec.Struct, frozen=True):
    """What the daily rules say of a day.

    Attributes:
        day: `2026-11-20`. series, rows: what was judged.
        findings_by_rule, findings_by_severity: all of them, by `gapless.quality.daily.findings` names; zeros too.
        new_reviews: rows that were put before a person now. waiting_reviews: rows of any day without a decision yet.
        unasked: rows that look wrong, but beyond the number that a person is asked about a day.
        findings: the gravest first, at most a thousand.
        state: `clean` or `dirty` (something was found); `failed` when a part could not be judged.
        errors: the parts that could not be.
    """

    day: str
    series: int
    rows: int
    findings_by_rule: dict[str, int]
    findings_by_severity: dict[str, int]
    new_reviews: int
    waiting_reviews: int
    unasked: int
    findings: tuple[Finding, ...]
    state: str
    seconds: float
    errors: tuple[Failure, ...] = ()

    @property
    def critical(self) -> int:
        """How many findings say that the store is wrong."""
        return self.findings_by_severity[CRITICAL]


def check_rules(rt: Runtime, day: Window, *, run_id: str = "", link: str = "") -> RulesReport:
    """Hold a day's stored bars, MySQL's and the lake's as one, against the rules of `gapless.quality.daily`.

    Every instrument with bars on the day, in every interval. Done again it enters nothing twice. The run is entered in
    the books.

    Args:
        day: one UTC day.
        run_id: tells this run of the day from others; the same one again replaces its entry.
        link: where a person can look at the run.

    Raises:
        ConfigError: not one UTC day, or the file of thresholds is wrong.
        StorageError: MySQL is away. What fails of some symbols only is in the report, and the rest is judged.
    """
    if day.length_ms != DAY_MS or day.start_ms % DAY_MS:
        raise ConfigError(f"the daily rules judge one UTC day, and {day} is none: give 00:00 to 00:00 of the next")
    limits = read_thresholds(rt.settings.quality_file)
    began_ms, began = _now_ms(), time.monotonic()
    rows = _stored_rows(rt, day)
    known = _known(rt, day)
    findings, doubts, errors = Findings(), list[Doubt](), list[Failure]()
    for batch in _batches(rows, known.instruments):
        held = _held(batch, rows)
        pairs = pairs_of(known.instruments[symbol] for symbol in batch if symbol in known.instruments)
        # A part that cannot be read must not hide what is wrong with the others, nor be counted as sound.
        part = Findings()
        try:
            doubtful = judge(rt, held, pairs, day, known, limits, part)
        except StorageError as error:
            named = f"{batch[0]} ... ({len(batch)})" if len(batch) > 1 else batch[0]
            errors.append(Failure(named, "", str(day), error.kind, str(error)))
            continue
        findings.merge(part)
        doubts = sorted([*doubts, *doubtful], key=lambda doubt: (-doubt.excess, doubt.review.identity))
        del doubts[limits.jumps.most :]
    new = put_reviews(rt.db, [doubt.review for doubt in doubts])
    _supersede(rt, day)
    report = RulesReport(
        day=from_ms(day.start_ms).date().isoformat(),
        series=len(rows),
        rows=sum(rows.values()),
        findings_by_rule=dict(findings.by_rule),
        findings_by_severity=dict(findings.by_severity),
        new_reviews=new,
        waiting_reviews=count_reviews(rt.db)[WAITING],
        unasked=findings.by_severity["review"] - len(doubts),
        findings=findings.listed(),
        state=FAILED if errors else DIRTY if sum(findings.by_rule.values()) else CLEAN,
        seconds=round(time.monotonic() - began, 3),
        errors=tuple(errors),
    )
    _enter(rt, day, report, run_id, link, began_ms)
    return report


def _stored_rows(rt: Runtime, day: Window) -> dict[Series, int]:
    """How many bars of the day each series has at least: what either store has of it alone."""
    rows: dict[Series, int] = {}
    hot = count_days(rt.db, Dataset.OHLCV, EXCHANGE, day)
    cold = read_archive_days(rt.db, Dataset.OHLCV, EXCHANGE, day)
    for table in (hot, cold):
        columns = (table[name].to_pylist() for name in ("symbol", "interval", "rows"))
        for symbol, interval, count in zip(*columns, strict=True):
            key = (symbol, Interval(interval))
            rows[key] = max(count, rows.get(key, 0))
    return rows


def _known(rt: Runtime, day: Window) -> Known:
    instruments = {each.symbol: each for each in read_instruments(rt.db, EXCHANGE)}
    lives = {
        symbol: [
            Window(life.listed_ms or 0, _FOR_EVER_MS if life.delisted_ms is None else life.delisted_ms)
            for life in found
            if life.delisted_ms is None or (life.listed_ms or 0) < life.delisted_ms
        ]
        for symbol, found in read_lives(rt.db, EXCHANGE).items()
    }
    gaps: dict[Series, list[Window]] = defaultdict(list)
    halts: dict[str, list[Window]] = defaultdict(list)
    for gap in read_gaps(rt.db, EXCHANGE, Dataset.OHLCV, Window(day.start_ms - _LOOK_BACK_MS, day.end_ms)):
        if gap.state != "filled":
            gaps[gap.symbol, Interval(gap.interval)].append(gap.window)
        if gap.state == "unfillable":
            halts[gap.symbol].append(gap.window)
    return Known(
        instruments,
        lives,
        {series: merge(windows) for series, windows in gaps.items()},
        {symbol: merge(windows) for symbol, windows in halts.items()},
    )


def _batches(rows: Mapping[Series, int], instruments: Mapping[str, Instrument]) -> Iterator[list[str]]:
    """Symbols together with the others of their coin, as many as have no more bars than fit."""
    by_symbol: dict[str, int] = defaultdict(int)
    for (symbol, _), count in rows.items():
        by_symbol[symbol] += count
    coins: dict[tuple[str, str], list[str]] = defaultdict(list)
    for symbol in by_symbol:
        known = instruments.get(symbol)
        coins[coin_of(known) if known else (symbol, "")].append(symbol)
    batch: list[str] = []
    for _, symbols in sorted(coins.items()):
        if batch and sum(by_symbol[symbol] for symbol in (*batch, *symbols)) > _ROWS_AT_ONCE:
            yield batch
            batch = []
        batch += sorted(symbols)
    if batch:
        yield batch


def _held(batch: Sequence[str], rows: Mapping[Series, int]) -> dict[str, list[Interval]]:
    return {symbol: [each for each in ALL_INTERVALS if rows.get((symbol, each))] for symbol in batch}


def _supersede(rt: Runtime, day: Window) -> None:
    """Take out of waiting what no longer has the values that a person would be asked about."""
    waiting: dict[Interval, list[Review]] = defaultdict(list)
    for review in read_reviews(rt.db, states=[WAITING], window=day):
        if review.dataset == Dataset.OHLCV:
            waiting[Interval(review.interval)].append(review)
    for interval, reviews in waiting.items():
        bars = read_stored_bars(rt, sorted({review.symbol for review in reviews}), interval, day)
        texts = [decimal_text(bars[name]).to_pylist() for name in OHLCV_VALUES]
        keys = zip(bars["symbol"].to_pylist(), bars["ts"].cast("int64").to_pylist(), strict=True)
        stored = dict(zip(keys, zip(*texts, strict=True), strict=True))
        stale = [
            review.id
            for review in reviews
            if stored.get((review.symbol, review.ts_ms)) != tuple(review.row_values.get(n) for n in OHLCV_VALUES)
        ]
        supersede_reviews(rt.db, stale, "the stored bar has other values now, or is gone")


def _enter(rt: Runtime, day: Window, report: RulesReport, run_id: str, link: str, began_ms: int) -> None:
    result = {name: value for name, value in msgspec.to_builtins(report).items() if name != "findings"}
    result["findings"] = [msgspec.to_builtins(each) for each in report.findings[:100]]
    put_check(
        rt.db,
        CheckRun(
            identity=sha256(f"{KIND}\0{day}\0{run_id}".encode()).hexdigest(),
            kind=KIND,
            dataset=str(Dataset.OHLCV),
            window=day,
            state=report.state,
            result=result,
            link=link,
            started_ms=began_ms,
            finished_ms=_now_ms(),
        ),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
