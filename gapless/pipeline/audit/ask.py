"""Asks the exchange for drawn bars, paced, and judges each answer as it comes."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import Interval
from gapless.domain.receipts import Failure
from gapless.domain.schema import Source
from gapless.domain.window import Window
from gapless.errors import BadSymbol, ExchangeError, RateLimited, RegionRefused, Unreachable
from gapless.exchanges.binance.fetch import Fetched, Series, fetch_klines
from gapless.exchanges.binance.payloads import parse_klines
from gapless.exchanges.binance.rest import BinanceRest
from gapless.pipeline.audit.compare import compare_bars, plan_requests
from gapless.pipeline.audit.report import Mismatch
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import Life

_SILENT = 8
"""So many series in a row without an answer, and the exchange counts as out of reach."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the drawn bars of one series that it is for, ascending."""

    series: Series
    bars: pa.Table


@dataclass(slots=True)
class Answers:
    """What came of the questions, in bars."""

    compared: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    requests: int = 0
    weight: int = 0

    def fail(self, questions: Sequence[Question], error: ExchangeError) -> None:
        """Bars that could not be asked for, a failure a series."""
        by_series: dict[tuple[str, str], list[Question]] = defaultdict(list)
        for question in questions:
            by_series[question.series.symbol, str(question.series.interval)].append(question)
        for (symbol, interval), group in sorted(by_series.items()):
            self.failed += sum(question.bars.num_rows for question in group)
            opens = [question.series.opens for question in group]
            window = Window(min(each.start for each in opens), max(each.stop for each in opens))
            self.failures.append(Failure(symbol, interval, str(window), error.kind, str(error)))


def questions_of(
    drawn: pa.Table, lives: Mapping[str, Sequence[Life]], answers: Answers
) -> dict[Market, list[Question]]:
    """The requests for drawn bars (`DRAWN`, sorted), by market; bars of which nobody knows a raw name fail at once."""
    found: dict[Market, list[Question]] = defaultdict(list)
    for bars in _by_series(drawn):
        symbol, interval = bars["symbol"][0].as_py(), Interval(bars["interval"][0].as_py())
        opens = bars["ts"].cast(pa.int64()).to_pylist()
        market, known = market_of(symbol), lives.get(symbol, ())
        if market is None or not known:
            name = Series(symbol, "", interval, range(opens[0], opens[-1] + interval.ms, interval.ms))
            told = BadSymbol(f"{symbol} is on no record of instruments: the exchange cannot be asked by its own name")
            answers.fail([Question(name, bars)], told)
            continue
        for raw, begin, end in _by_life(known, opens):
            taken = begin
            grid = [interval.floor(at) for at in opens[begin:end]]  # what is stored beside the grid is asked for on it
            for asked in plan_requests(market, grid, interval.ms):
                until = begin + bisect_right(grid, asked[-1])
                found[market].append(Question(Series(symbol, raw, interval, asked), bars.slice(taken, until - taken)))
                taken = until
    return found


async def ask_market(
    rt: Runtime,
    market: Market,
    questions: Sequence[Question],
    answers: Answers,
    on_asked: Callable[[int], None] = lambda bars: None,
) -> None:
    """Ask all questions of one market. A failure never stops the others, unless nobody is answered any more.

    Args:
        on_asked: called with the number of bars that an answer settled.
    """
    waiting = {_key(question.series): question for question in questions}
    try:
        async with rt.exchange(market) as rest:
            try:
                await _ask_all(rest, waiting, answers, on_asked)
            finally:
                answers.requests += rest.requests
                answers.weight += rest.weight
    except ExchangeError as error:
        answers.fail(list(waiting.values()), error)


async def _ask_all(
    rest: BinanceRest,
    waiting: dict[tuple[str, Interval, int], Question],
    answers: Answers,
    on_asked: Callable[[int], None],
) -> None:
    """Takes what is settled out of `waiting`; raises what stops all the rest."""
    errors: dict[tuple[str, Interval], ExchangeError] = {}
    silent = 0
    try:
        async with contextlib.aclosing(fetch_klines(rest, [each.series for each in waiting.values()])) as results:
            async for result in results:
                if isinstance(result, Fetched):
                    silent = 0
                    question = waiting.pop(_key(result.series))
                    _judge(question, result.body, rest.clock.now_ms(), answers)
                    on_asked(question.bars.num_rows)
                    continue
                silent = silent + 1 if isinstance(result.error, Unreachable) else 0
                if isinstance(result.error, RateLimited | RegionRefused) or silent >= _SILENT:
                    raise result.error  # nobody is answered any more
                errors[result.series.symbol, result.series.interval] = result.error
    finally:
        for (symbol, interval), error in errors.items():
            lost = [key for key in waiting if key[:2] == (symbol, interval)]
            answers.fail([waiting.pop(key) for key in lost], error)


def _judge(question: Question, body: str, now_ms: int, answers: Answers) -> None:
    series = question.series
    theirs, rejected = parse_klines([(EXCHANGE, series.symbol, str(series.interval), body)], Source.REST)
    if any(row.ts is None for row in rejected):
        answers.fail([question], ExchangeError(f"{series.raw_symbol} {series.interval}: the answer holds rows without a"
                                               " readable open time; try again later"))  # fmt: skip
        return
    answers.compared += question.bars.num_rows
    answers.mismatches += compare_bars(question.bars, theirs, rejected, now_ms)


def _by_series(drawn: pa.Table) -> Iterator[pa.Table]:
    names = list(zip(drawn["symbol"].to_pylist(), drawn["interval"].to_pylist(), strict=True))
    begin = 0
    for at in range(1, len(names) + 1):
        if at == len(names) or names[at] != names[begin]:
            yield drawn.slice(begin, at - begin)
            begin = at


def _by_life(lives: Sequence[Life], opens: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Runs of open times, and the exchange's name of the instrument then: a ticker can live twice, under two names."""
    begin, current = 0, _raw_at(lives, opens[0])
    for at, moment in enumerate(opens):
        raw = _raw_at(lives, moment)
        if raw != current:
            yield current, begin, at
            begin, current = at, raw
    yield current, begin, len(opens)


def _raw_at(lives: Sequence[Life], at_ms: int) -> str:
    """The name in the first life that had not ended by then, or in the last."""
    for life in lives:
        if life.delisted_ms is None or at_ms < life.delisted_ms:
            return life.raw_symbol
    return lives[-1].raw_symbol


def _key(series: Series) -> tuple[str, Interval, int]:
    return series.symbol, series.interval, series.opens.start
