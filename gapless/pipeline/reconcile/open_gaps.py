"""What the gap log says is still to be looked at: what is open, and what the exchange denied lately."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gapless.domain.instrument import market_of
from gapless.domain.window import DAY_MS, Window, merge
from gapless.pipeline.backfill.pieces import Piece, Series, cut_series
from gapless.pipeline.reconcile.closing import STANDING
from gapless.pipeline.reconcile.judgement import Key
from gapless.pipeline.reconcile.request import DiffRequest
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import Gap, read_gaps

LATE_MS = 2 * DAY_MS
"""How long what the exchange denied is asked for again: what is entered late is there by then (metrics, mostly)."""

EVER = Window.of("2017-01-01", "2200-01-01")


def standing_gaps(rt: Runtime, request: DiffRequest, series: Iterable[Series]) -> list[Gap]:
    """The gaps of these series that somebody still has to do something about, whenever they were."""
    wanted = {(one.symbol, one.label) for one in series}
    symbols = {symbol for symbol, _ in wanted}
    found = read_gaps(rt.db, EXCHANGE, str(request.dataset), EVER, symbols, states=STANDING) if symbols else []
    return [gap for gap in found if (gap.symbol, gap.interval) in wanted]


def unlisted(rt: Runtime, request: DiffRequest, series: Iterable[Series]) -> tuple[str, ...]:
    """The symbols with an open gap of the dataset that are not among these series'."""
    known = {one.symbol for one in series}
    found = read_gaps(rt.db, EXCHANGE, str(request.dataset), EVER, states=STANDING)
    markets = {gap.symbol for gap in found if request.market in (None, market_of(gap.symbol))}
    return tuple(sorted(markets - known))


def pieces_of_gaps(gaps: Iterable[Gap], series: Sequence[Series], without: Window | None) -> list[Piece]:
    """Gaps as pieces to compare, cut at months, outside a window that is compared anyway."""
    windows: dict[Key, list[Window]] = defaultdict(list)
    for gap in gaps:
        windows[gap.symbol, gap.interval] += gap.window.subtract([without]) if without else [gap.window]
    by_key = {(one.symbol, one.label): one for one in series}
    return [
        piece
        for key, some in sorted(windows.items())
        for window in merge(some)
        for piece in cut_series(by_key[key], window, store_of="mysql", settled={})
    ]


def denied_lately(rt: Runtime, request: DiffRequest, series: Iterable[Series], now_ms: int) -> list[Gap]:
    """The gaps of the last days, by the exchange's clock, that it denied; it may have entered the rows since."""
    wanted = {(one.symbol, one.label) for one in series}
    lately = Window(now_ms - LATE_MS, EVER.end_ms)
    symbols = {symbol for symbol, _ in wanted}
    if not symbols:
        return []
    found = read_gaps(rt.db, EXCHANGE, str(request.dataset), lately, symbols, states=["unfillable"])
    return [gap for gap in found if (gap.symbol, gap.interval) in wanted]
