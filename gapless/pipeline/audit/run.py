"""The audit: draw, ask, compare, and enter the result into the books."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.window import Window
from gapless.errors import NotFound
from gapless.pipeline.audit.ask import Answers, Question, ask_market, questions_of
from gapless.pipeline.audit.draw import draw_bars
from gapless.pipeline.audit.report import AuditReport, AuditRequest
from gapless.pipeline.audit.tickets import Tickets
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.stored import chosen_symbols, span_of, stored_months, unstored
from gapless.storage.mysql import read_lives
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, put_check
from gapless.storage.mysql.days import EVER

_KEPT = 100
"""How many mismatches, and how many errors, of one run the books keep; all are counted."""


class Watch(Protocol):
    """Is told how far it is."""

    def step(self, what: str) -> None: ...
    def count(self, done: int, total: int) -> None: ...


class Unwatched:
    """A watch that looks away."""

    def step(self, what: str) -> None:
        return None

    def count(self, done: int, total: int) -> None:
        return None


def run_audit(rt: Runtime, request: AuditRequest, watch: Watch | None = None) -> AuditReport:
    """Draw stored bars at random and compare every field of each with what the exchange has now.

    Changes nothing but the books, where the result is entered as a check run of kind `audit`.

    Raises:
        ConfigError: a raw symbol without a market. NotFound: nothing is stored of what was asked for.
        StorageError: a store is away, or an object of the lake is damaged.
    """
    told = watch or Unwatched()
    began_ms, began = _now_ms(), time.monotonic()
    window = Window(
        EVER.start_ms if request.start_ms is None else request.start_ms,
        EVER.end_ms if request.end_ms is None else request.end_ms,
    )
    told.step("looking which days are stored")
    chosen, unknown = chosen_symbols(rt, request.symbols, request.market)
    months = stored_months(
        rt, Dataset.OHLCV, window, symbols=chosen, market=request.market, intervals=request.intervals
    )
    answers = Answers(failures=[*unknown, *unstored(request.symbols, chosen, months, rt)])
    told.step(f"drawing {request.sample:,} bars")
    drawn = draw_bars(rt, Tickets(months, window), request.sample, request.seed, told.count)
    if not drawn.num_rows:
        raise NotFound(f"audit of {request}: no bar is stored; gapless backfill fetches some")
    told.step(f"asking the exchange for {drawn.num_rows:,} bars")
    questions = questions_of(drawn, read_lives(rt.db, EXCHANGE), answers)
    settled = _Counting(told, drawn.num_rows)
    asyncio.run(_ask(rt, questions, answers, settled))
    report = _report(request, drawn.num_rows, answers, time.monotonic() - began)
    put_check(rt.db, _check_run(request, report, span_of(months) or window, window, began_ms))
    return report


async def _ask(
    rt: Runtime, questions: Mapping[Market, Sequence[Question]], answers: Answers, settled: Callable[[int], None]
) -> None:
    async with asyncio.TaskGroup() as tasks:  # markets have budgets of their own
        for market, group in questions.items():
            tasks.create_task(ask_market(rt, market, group, answers, settled))


class _Counting:
    def __init__(self, watch: Watch, total: int) -> None:
        self._watch, self._total, self._done = watch, total, 0

    def __call__(self, bars: int) -> None:
        self._done += bars
        self._watch.count(self._done, self._total)


def _report(request: AuditRequest, sampled: int, answers: Answers, seconds: float) -> AuditReport:
    note = ""
    if sampled < request.sample:
        note = f"{request.sample:,} bars were asked for and {sampled:,} are stored: all of them were sampled"
    return AuditReport(
        seed=request.seed,
        wanted=request.sample,
        sampled=sampled,
        matching=answers.compared - len(answers.mismatches),
        mismatching=len(answers.mismatches),
        failed=answers.failed,
        note=note,
        requests=answers.requests,
        weight_used=answers.weight,
        seconds=round(seconds, 3),
        mismatches=tuple(sorted(answers.mismatches, key=lambda each: (each.symbol, each.interval, each.ts))),
        errors=tuple(answers.failures),
    )


def _check_run(request: AuditRequest, report: AuditReport, span: Window, asked: Window, began_ms: int) -> CheckRun:
    result = msgspec.to_builtins(report)
    for name in ("mismatches", "errors"):
        result[name] = result[name][:_KEPT]
    told = msgspec.json.encode([msgspec.to_builtins(request), began_ms], order="sorted")
    return CheckRun(
        identity=hashlib.sha256(told).hexdigest(),
        kind="audit",
        dataset=str(Dataset.OHLCV),
        window=span.intersect(asked) or span,
        state=DIRTY if report.mismatching else FAILED if report.failed or report.errors else CLEAN,
        result=result,
        link="",
        started_ms=began_ms,
        finished_ms=_now_ms(),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
