"""How a comparison is cut: pieces of one window side by side, as many as are compared at once. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from gapless.domain.datasets import Dataset
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.backfill.pieces import Piece

SLAB_ROWS = 60_000
"""Rows that are in memory twice, as stored and as the exchange has them: about thirty symbols' day, six intervals."""

_FUNDING_STEP_MS = 3_600_000  # at most so many settlements


@dataclass(frozen=True, slots=True)
class Slab:
    """Series that are compared together over one window, which lies inside one month."""

    window: Window
    pieces: tuple[Piece, ...]

    @property
    def dataset(self) -> Dataset:
        return self.pieces[0].series.dataset

    @property
    def symbols(self) -> list[str]:
        """Each once, in order."""
        return list(dict.fromkeys(piece.series.symbol for piece in self.pieces))

    def __str__(self) -> str:
        names = self.symbols
        return f"{self.dataset} {', '.join(names[:3])}{f' ... ({len(names)})' if len(names) > 3 else ''} {self.window}"


def slabs_of(pieces: Iterable[Piece], at_most: int = SLAB_ROWS) -> list[Slab]:
    """Pieces as slabs, oldest window first; a symbol's intervals stay together where they fit."""
    by_window: dict[Window, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_window[piece.window].append(piece)
    slabs: list[Slab] = []
    for window, members in sorted(by_window.items()):
        members.sort(key=lambda p: (p.series.symbol, p.series.step_ms or 0))
        chosen: list[Piece] = []
        rows = 0
        for piece in members:
            more = rows_of(piece)
            if chosen and rows + more > at_most:
                slabs.append(Slab(window, tuple(chosen)))
                chosen, rows = [], 0
            chosen.append(piece)
            rows += more
        slabs.append(Slab(window, tuple(chosen)))
    return slabs


def rows_of(piece: Piece) -> int:
    """Rows that a piece can have, at most."""
    return -(-piece.window.length_ms // (piece.series.step_ms or _FUNDING_STEP_MS))


def asked_window(piece: Piece) -> Window | None:
    """What the exchange is asked of a piece: the whole UTC days that hold something expected; None when nothing is."""
    expected = piece.expected
    if not len(expected):
        return None
    first, last = int(expected[0]), int(expected[-1])
    days = Window(first - first % DAY_MS, last - last % DAY_MS + DAY_MS)
    return days.intersect(piece.window)
