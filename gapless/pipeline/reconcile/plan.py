"""What a comparison costs before it is begun, and how it is shared out among workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.window import Window
from gapless.exchanges.binance.funding_of_all import bulk_pays, bulk_requests
from gapless.exchanges.binance.metrics import ENDPOINTS
from gapless.exchanges.binance.paging import plan_pages
from gapless.exchanges.binance.pools import FUNDING_POOL, FUTURES_DATA_POOL, POOLS
from gapless.exchanges.binance.series_rest import METRICS_PAGE
from gapless.pipeline.backfill.pieces import Piece, Series
from gapless.pipeline.reconcile.bars import wanted_series
from gapless.pipeline.reconcile.local import scan
from gapless.pipeline.reconcile.request import DiffPlan, DiffRequest
from gapless.pipeline.reconcile.run import scope_of
from gapless.pipeline.reconcile.series import trading
from gapless.pipeline.reconcile.slabs import rows_of, slabs_of
from gapless.pipeline.runtime import Runtime

WEIGHT_A_MINUTE = {Market.SPOT: 6_000, Market.UM: 2_400}
"""The exchange's limits (reference 2.2); how much of them is used is a setting."""


def plan_diff(rt: Runtime, request: DiffRequest) -> DiffPlan:
    """What `run_diff` would ask the exchange for.

    Raises:
        ConfigError, ExchangeError, OriginMismatch: see `scope_of`.
    """
    scope = scope_of(rt, request)
    found, pieces = scope.found, scope.pieces
    share = rt.settings.budget_share
    requests = weight = pool = 0
    minutes = 0.0
    for market in sorted({piece.series.market for piece in pieces}):
        mine = [piece for piece in pieces if piece.series.market is market]
        asked, heavy, pooled = _cost(request.dataset, mine, trading(rt))
        requests, weight, pool = requests + asked, weight + heavy, pool + pooled
        minutes += heavy / (WEIGHT_A_MINUTE[market] * share)
    if pool:
        most, window_ms = POOLS[FUNDING_POOL if request.dataset is Dataset.FUNDING else FUTURES_DATA_POOL]
        minutes += pool / (most * share) * window_ms / 60_000
    window = found.window
    lacking = 0
    if request.dataset is Dataset.OHLCV:
        stretches: dict[Window, list[Series]] = defaultdict(list)
        for piece in pieces:
            stretches[piece.window].append(piece.series)
        lacking = sum(len(o) for over, series in stretches.items() for o in scan(rt, series, over).values())
    return DiffPlan(
        series=len({(piece.series.symbol, piece.series.label) for piece in pieces}),
        rows=sum(rows_of(piece) if piece.series.step_ms is None else len(piece.expected) for piece in pieces),
        lacking=lacking,
        open_gaps=sum(1 for piece in pieces if window is None or not window.intersect(piece.window)),
        requests=requests,
        weight=weight,
        pool_requests=pool,
        minutes=round(minutes, 1),
        errors=found.failures,
    )


def cut_diff(rt: Runtime, request: DiffRequest, at_most: int = 8) -> list[DiffRequest]:
    """The request as parts that workers can do side by side, each with its own symbols; none when nothing is due.

    Raises:
        ConfigError, ExchangeError, OriginMismatch: see `scope_of`.
    """
    scope = scope_of(rt, request)
    found, others = scope.found, {series.symbol for series in scope.others}
    pieces = [piece for piece in scope.pieces if piece.series.symbol not in others]
    costs: dict[Market, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for piece in pieces:
        costs[piece.series.market][piece.series.symbol] += rows_of(piece)
    total = sum(sum(mine.values()) for mine in costs.values())
    parts: list[DiffRequest] = []
    for market, mine in sorted(costs.items()):
        share = 1 if request.dataset is Dataset.FUNDING else max(1, round(at_most * sum(mine.values()) / total))
        for symbols in _evenly(mine, share):
            parts.append(msgspec.structs.replace(request, market=market, symbols=tuple(symbols)))
    if others:
        names = tuple(sorted(others))
        parts.append(msgspec.structs.replace(request, symbols=names, only_gaps=True))
    if found.failures:  # names that nobody knows: told once, by a part of their own
        names = tuple(dict.fromkeys(failure.symbol for failure in found.failures))
        parts.append(msgspec.structs.replace(request, symbols=names))
    return parts


def _cost(dataset: Dataset, pieces: Sequence[Piece], listed: int) -> tuple[int, int, int]:
    """Requests in all, weight, and requests of a pool outside the weight."""
    if dataset is Dataset.OHLCV:
        pages = [
            page
            for slab in slabs_of(pieces)
            for series in wanted_series(slab)
            for page in plan_pages(slab.pieces[0].series.market, series.opens)
        ]
        return len(pages), sum(page.weight for page in pages), 0
    if dataset is Dataset.FUNDING:
        by_window: dict[Window, int] = defaultdict(int)
        for piece in pieces:
            by_window[piece.window] += 1
        pooled = sum(
            bulk_requests(listed, window) if bulk_pays(count, listed, window) else count
            for window, count in by_window.items()
        )
        return pooled, 0, pooled
    asked = sum(-(-rows_of(piece) // METRICS_PAGE) for piece in pieces) * len(ENDPOINTS)
    return asked, 0, asked


def _evenly(costs: dict[str, int], parts: int) -> list[list[str]]:
    """Symbols in as many groups of about the same cost, in order."""
    groups: list[list[str]] = [[]]
    target, spent = sum(costs.values()) / parts, 0
    for symbol, cost in sorted(costs.items()):
        if groups[-1] and spent + cost / 2 > target * len(groups) and len(groups) < parts:
            groups.append([])
        groups[-1].append(symbol)
        spent += cost
    return [group for group in groups if group]
