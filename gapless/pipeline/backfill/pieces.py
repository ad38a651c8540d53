"""How a backfill is cut: months of series, what of them is left to do, where each goes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gapless.domain.datasets import Dataset
from gapless.domain.grid import Opens, count_points, lived, points
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window, month_start

Store = Literal["mysql", "lake"]
FOR_EVER_MS = 1 << 52
METRICS_STEP_MS = Interval.M5.ms


@dataclass(frozen=True, slots=True)
class Series:
    """One series to fill.

    Attributes:
        interval: None for datasets without.
        lives: the stretches in which rows are expected, in order; empty when nothing is known of them.
        raw_symbols: the exchange's name in each of the lives, aligned.
        first_known, last_known: whether the beginning of the first and the end of the last life are the exchange's
            word; where they are not, the archive's first and last rows tell.
    """

    dataset: Dataset
    market: Market
    symbol: str
    interval: Interval | None
    lives: tuple[Window, ...]
    raw_symbols: tuple[str, ...]
    first_known: bool = True
    last_known: bool = True

    @property
    def step_ms(self) -> int | None:
        """The grid of its times; None for funding."""
        if self.dataset is Dataset.FUNDING:
            return None
        return METRICS_STEP_MS if self.interval is None else self.interval.ms

    @property
    def name(self) -> str:
        """`BTC/USDT 1m`, for messages."""
        return f"{self.symbol} {self.interval}" if self.interval else self.symbol

    @property
    def label(self) -> str:
        """The interval's name, empty where there is none: the form of the books."""
        return "" if self.interval is None else str(self.interval)


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be done of one month of one series, at most once and as a whole.

    Attributes:
        window: the open times to settle, inside one month, over by the exchange's clock.
        settled: the ledger's window of this month when the piece is done, of which `window` is the last part.
        before: expected, present, unfillable, outside of `settled` without `window`.
    """

    series: Series
    raw_symbol: str
    window: Window
    store: Store
    settled: Window
    before: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def month_ms(self) -> int:
        return month_start(self.window.start_ms)

    @property
    def expected(self) -> Opens:
        """The open times at which a row must be, inside lifetimes. Funding has no fixed grid: none."""
        return expected_opens(self.series, self.window)

    def __str__(self) -> str:
        return f"{self.series.name} {self.window}"


@dataclass(frozen=True, slots=True)
class Settled:
    """What the ledger says of one month of a series in one store."""

    window: Window
    counts: tuple[int, int, int, int]
    whole: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """Pieces that come to rest together: a lake object's (a month, an interval, a bucket), or a symbol's month in
    MySQL."""

    store: Store
    month_ms: int
    group: str
    pieces: tuple[Piece, ...]


def expected_opens(series: Series, window: Window) -> Opens:
    """Open times of the window at which the series must have a row. Funding has no fixed grid: none."""
    step = series.step_ms
    return points(lived(series.lives, window, step) if step else (), step or 1)


def count_expected(series: Series, window: Window) -> int:
    """How many `expected_opens` there are, without making them."""
    step = series.step_ms
    return count_points(lived(series.lives, window, step), step) if step else 0


def cut_series(
    series: Series,
    window: Window,
    *,
    store_of: dict[int, Store] | Store,
    settled: dict[tuple[int, Store], Settled],
    either_store: bool = False,
) -> list[Piece]:
    """The months of the window that meet a life and are not settled, oldest first.

    Args:
        window: over by the exchange's clock.
        store_of: where a month goes, by its first moment; or one store for all.
        settled: the ledger, by month and store.
        either_store: a month that is whole in the other store counts as done.
    """
    pieces: list[Piece] = []
    for month in window.split_months():
        start_ms = month_start(month.start_ms)
        store = store_of if isinstance(store_of, str) else store_of[start_ms]
        raw_symbol = _raw_symbol(series, month)
        if raw_symbol is None:
            continue
        other: Store = "lake" if store == "mysql" else "mysql"
        elsewhere = settled.get((start_ms, other))
        if either_store and elsewhere and elsewhere.whole and elsewhere.window.covers(month):
            continue
        piece = _left(series, raw_symbol, month, store, settled.get((start_ms, store)))
        if piece is not None:
            pieces.append(piece)
    return pieces


def whole_piece(series: Series, window: Window, store: Store, settled: Settled | None) -> Piece | None:
    """A month's piece that reads everything again, what the ledger has settled included."""
    raw_symbol = _raw_symbol(series, window)
    if raw_symbol is None:
        return None
    hull = _hull(window, settled.window) if settled else window
    return Piece(series, raw_symbol, hull, store, hull)


def units_of(pieces: Iterable[Piece], buckets: dict[str, int] | None = None, *, coarse: frozenset[str]) -> list[Unit]:
    """Pieces as units, oldest month first; in a unit by symbol (UTF-8 order), the order of lake objects.

    Args:
        buckets: of each symbol, for lake objects of fine intervals.
        coarse: labels whose lake object holds all symbols of a month.
    """
    groups: dict[tuple[int, Store, str], list[Piece]] = defaultdict(list)
    for piece in pieces:
        if piece.store == "mysql":
            group = piece.series.symbol
        elif piece.series.label in coarse or buckets is None:
            group = piece.series.label
        else:
            group = f"{piece.series.label}.{buckets[piece.series.symbol]:02}"
        groups[piece.month_ms, piece.store, group].append(piece)
    return [
        Unit(store, month_ms, group, tuple(sorted(members, key=lambda p: (p.series.symbol.encode(), p.series.label))))
        for (month_ms, store, group), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def _raw_symbol(series: Series, month: Window) -> str | None:
    """The exchange's name in the life that meets the month (the last of several); None when none does."""
    step = series.step_ms or 1
    found = None
    for life, raw_symbol in zip(series.lives, series.raw_symbols, strict=True):
        if Window(life.start_ms - life.start_ms % step, life.end_ms).intersect(month):
            found = raw_symbol
    return found


def _left(series: Series, raw_symbol: str, month: Window, store: Store, settled: Settled | None) -> Piece | None:
    if settled is None:
        return Piece(series, raw_symbol, month, store, month)
    if not settled.whole:
        hull = _hull(month, settled.window)
        return Piece(series, raw_symbol, hull, store, hull)
    left: Sequence[Window] = month.subtract([settled.window])
    if not left:
        return None
    if len(left) == 1 and settled.window.end_ms == left[0].start_ms:
        hull = Window(settled.window.start_ms, left[0].end_ms)
        return Piece(series, raw_symbol, left[0], store, hull, settled.counts)
    hull = _hull(month, settled.window)  # before it, or apart from it: read all of it again, once
    return Piece(series, raw_symbol, hull, store, hull)


def _hull(one: Window, other: Window) -> Window:
    return Window(min(one.start_ms, other.start_ms), max(one.end_ms, other.end_ms))
