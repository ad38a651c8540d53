"""How complete a request's window is, by the books: what is settled, less what the gap log says is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.window import Window, merge
from gapless.pipeline.backfill.pieces import Series, count_expected
from gapless.pipeline.backfill.request import BackfillRequest, SeriesCoverage
from gapless.pipeline.backfill.survey import Survey, ledger_of
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import Gap, SeriesMonth, read_gaps

_CAUSES = 3


def cover_request(rt: Runtime, request: BackfillRequest, found: Survey) -> list[SeriesCoverage]:
    """The coverage of every series of a survey, by symbol and interval, as the books stand now."""
    if found.window is None or not found.series:
        return []
    ledger = _ledger(rt, request.dataset, {series.market for series in found.series}, found.window)
    gaps: dict[tuple[str, str], list[Gap]] = defaultdict(list)
    symbols = sorted({series.symbol for series in found.series})
    for gap in read_gaps(rt.db, EXCHANGE, str(request.dataset), found.window, symbols=symbols):
        if gap.state != "filled":
            gaps[gap.symbol, gap.interval].append(gap)
    ordered = sorted(found.series, key=lambda one: (one.symbol, one.interval.ms if one.interval else 0))
    return [
        cover(series, over, ledger.get((series.symbol, series.label), []), gaps[series.symbol, series.label])
        for series in ordered
        if (over := found.window_of(series)) is not None
    ]


def cover(series: Series, window: Window, ledger: Sequence[SeriesMonth], gaps: Iterable[Gap]) -> SeriesCoverage:
    """One series. Pure.

    A month in the ledger holds every expected row but those of its gaps; what is in no ledger is missing. Where the
    grid is not known beforehand (funding, a life that nobody dated), the ledger's own counts are summed.
    """
    if series.step_ms is None or not (series.first_known and series.last_known):
        expected = sum(row.expected for row in ledger)
        present = sum(row.present for row in ledger)
        unfillable = sum(row.unfillable for row in ledger)
        return SeriesCoverage(series.symbol, series.label, expected, present, unfillable, _why(gaps, window, None, 0))
    settled = merge(part for row in ledger if (part := row.window.intersect(window)) is not None)
    expected = count_expected(series, window)
    looked_at = sum(count_expected(series, part) for part in settled)
    bars: Counter[str] = Counter()
    inside = [gap for gap in gaps if any(gap.window.intersect(part) for part in settled)]
    for gap in inside:
        parts = (part for each in settled if (part := gap.window.intersect(each)) is not None)
        bars[gap.state] += sum(count_expected(series, part) for part in parts)
    present = looked_at - bars.total()
    never = expected - looked_at
    why = _why(inside, window, series, never)
    return SeriesCoverage(series.symbol, series.label, expected, present, bars["unfillable"], why)


def _ledger(
    rt: Runtime, dataset: Dataset, markets: Iterable[Market], window: Window
) -> dict[tuple[str, str], list[SeriesMonth]]:
    found: dict[tuple[str, str], list[SeriesMonth]] = defaultdict(list)
    for market in sorted(markets):
        for row in ledger_of(rt, dataset, market, window):
            found[row.symbol, row.interval].append(row)
    return found


def _why(gaps: Iterable[Gap], window: Window, series: Series | None, never: int) -> str:
    causes: Counter[str] = Counter()
    for gap in gaps:
        part = gap.window.intersect(window)
        if part is not None:
            causes[gap.cause] += count_expected(series, part) if series else gap.bars
    if never:
        causes["not taken yet"] += never
    return "; ".join(f"{bars}: {cause}" for cause, bars in causes.most_common(_CAUSES))
