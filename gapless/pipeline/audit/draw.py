"""Draws stored bars at random: tickets by the days on record, then only the days that were drawn are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.pipeline.audit.tickets import Ticket, Tickets, shuffled
from gapless.pipeline.holes import holes_of
from gapless.pipeline.read import join_stores
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql.reader import read_stored, stored_schema

_SHAPE = SHAPES[Dataset.OHLCV]
DRAWN = stored_schema(_SHAPE).remove(_SHAPE.schema.names.index("source") + 1).append(
    pa.field("receipt_id", pa.uint64(), nullable=True)
).append(pa.field("store", pa.string(), nullable=False))  # fmt: skip
"""A drawn bar: its canonical columns, which load brought it (null in the lake), and which store holds it."""

_BATCH = 20_000
_SYMBOLS_AT_ONCE = 32
_READERS = 4
_SLOWEST = 1 / 64
"""How rare bars among tickets are taken to be at most, when it is guessed how many to draw next."""

_Day = tuple[str, Window]
_Series = tuple[str, str, Window]


@dataclass(frozen=True, slots=True)
class _Read:
    """The bars of one series and day that tickets of a batch stand for, and how many are stored of it."""

    series: _Series
    stored: int
    places: tuple[int, ...]
    rows: pa.Table


def draw_bars(
    rt: Runtime, tickets: Tickets, count: int, seed: int, on_drawn: Callable[[int, int], None] = lambda done, of: None
) -> pa.Table:
    """`count` stored bars, each with the same chance, none twice, as `DRAWN`, by series and time; all when fewer are
    stored.

    The same seed draws the same bars of the same content, wherever it lies.

    Args:
        on_drawn: called with how many bars are drawn, of how many.

    Raises:
        StorageError: a store is away, or an object of the lake is damaged.
    """
    numbers = shuffled(len(tickets), seed)
    stored: dict[_Series, int] = {}
    found: list[pa.Table] = [DRAWN.empty_table()]
    held = asked = 0
    while held < count:
        rate = max(_SLOWEST, held / asked) if asked else 1.0
        batch = [tickets[number] for number in islice(numbers, min(_BATCH, int((count - held) / rate * 1.05) + 8))]
        if not batch:
            break
        asked += len(batch)
        open_still = [t for t in batch if t.index < stored.get(_series(t), 1 << 30)]
        taken: list[tuple[int, pa.Table]] = []
        for read in _read_all(rt, open_still):
            stored[read.series] = read.stored
            taken += [(place, read.rows.slice(row, 1)) for row, place in enumerate(read.places)]
            on_drawn(min(count, held + len(taken)), count)
        taken.sort(key=lambda pair: pair[0])  # tickets count in the order in which they were drawn
        found += [bar for _, bar in taken[: count - held]]
        held += min(len(taken), count - held)
    return pa.concat_tables(found).sort_by([(name, "ascending") for name in _SHAPE.key]).combine_chunks()


def _read_all(rt: Runtime, batch: Sequence[Ticket]) -> Iterator[_Read]:
    """What the tickets stand for; symbols of one interval and day are read together, several such at a time."""
    days: dict[_Day, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, ticket in enumerate(batch):
        days[ticket.month.interval, ticket.day][ticket.month.symbol].append(place)
    work = []
    for day, places in sorted(days.items()):
        symbols = sorted(places)
        for at in range(0, len(symbols), _SYMBOLS_AT_ONCE):
            part = symbols[at : at + _SYMBOLS_AT_ONCE]
            work.append((day, {symbol: places[symbol] for symbol in part}))
    with ThreadPoolExecutor(_READERS, "audit") as pool:
        for reads in pool.map(lambda each: _read(rt, batch, *each), work):
            yield from reads


def _read(rt: Runtime, batch: Sequence[Ticket], day: _Day, places: dict[str, list[int]]) -> list[_Read]:
    interval, window = day
    rows = _stored_rows(rt, Interval(interval), window, places)
    names = rows["symbol"].to_numpy()
    found = []
    for symbol, tickets in places.items():
        begin, end = np.searchsorted(names, [symbol]).item(), np.searchsorted(names, [symbol], side="right").item()
        worth = [place for place in tickets if batch[place].index < end - begin]
        chosen = rows.take(pa.array([begin + batch[place].index for place in worth], pa.int64()))
        found.append(_Read((symbol, interval, window), end - begin, tuple(worth), chosen))
    return found


def _stored_rows(rt: Runtime, interval: Interval, window: Window, symbols: Collection[str]) -> pa.Table:
    """The bars of a day, both stores as one. The lake is not asked for days that MySQL holds whole."""
    span = (str(interval), window.start_ms, window.end_ms)
    what = f"drawing from {interval} {window}"
    # MySQL first: rows leave it for the lake only, so that a bar on its way is seen in one of the two.
    hot = rt.db.run(what, lambda connection: read_stored(connection, _SHAPE, EXCHANGE, sorted(symbols), [span]))
    holes = [symbol for _, names in holes_of(hot, sorted(symbols), interval.ms, window) for symbol in names]
    cold = rt.lake.read(window, symbols=holes, intervals=[interval], exchange=EXCHANGE)
    return join_stores(
        hot.append_column("store", pa.repeat(pa.scalar("mysql"), hot.num_rows)).cast(DRAWN),
        cold.append_column("receipt_id", pa.nulls(cold.num_rows, pa.uint64()))
        .append_column("store", pa.repeat(pa.scalar("lake"), cold.num_rows))
        .cast(DRAWN),
        _SHAPE,
    )


def _series(ticket: Ticket) -> _Series:
    return ticket.month.symbol, ticket.month.interval, ticket.day
