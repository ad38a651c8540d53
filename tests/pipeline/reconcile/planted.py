"""Faults planted into a filled installation, and exactly what a comparison with the exchange must find of them.

    world = World.of(installation, requests)          # as it is: every row that the stores hold, as one
    planted = plant(world, seed=1, holes=500, altered=200, extra=50)
    assert world.compare().gaps["open"] == planted.gaps()

A hole is a run of rows taken out of every store that holds them (or, as a decoy, out of one of two: nothing is
missing then). An altered row has another value where it is seen. An extra row is one that the exchange does not have:
in a halt, before a listing, between settlements. Planted faults of a series keep a row's distance, so that each is
found as itself.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import ALL_INTERVALS, Interval, parse_intervals
from gapless.domain.keys import millis_of
from gapless.domain.schema import Source
from gapless.domain.window import HOUR_MS, Window, iso
from gapless.pipeline.read import join_stores
from gapless.pipeline.reconcile.request import DiffRequest, GapReport, GapRow
from gapless.pipeline.reconcile.run import run_diff
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import put_archive_receipts, read_bars, read_rows
from tests.pipeline.conftest import Installation

Series = tuple[Dataset, str, str]
"""Dataset, symbol, interval (empty where there is none)."""
Place = tuple[Dataset, str, str, int]
"""A series and a time, ms."""

GapTold = tuple[Dataset, str, str, str, str, int]
"""A gap of a series as a report tells it: start, end (ISO 8601), rows."""

LENGTHS = (1, 1, 1, 2, 3, 5, 8, 20, 21, 60, 240, 720)
"""How many rows a hole takes, as far as the series has room for it; besides, the first two of many holes are days."""
_DAYS = (1440, 2880)
_ROOM = 0.25  # of a series at most is taken out by one hole
_TRIES = 4000
_EXCHANGE = "binance"


def request(dataset: Dataset, start: str, end: str, symbols: str, intervals: str | None = None) -> DiffRequest:
    """A comparison as it is named on the command line."""
    window = Window.of(start, end)
    return DiffRequest(
        dataset=dataset,
        symbols=tuple(symbols.split(",")),
        intervals=parse_intervals(intervals),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )


@dataclass
class World:
    """An installation that holds what the exchange has, and what is compared of it.

    Attributes:
        rows: what the stores hold of each request, as one, in canonical order.
        untouched: what a comparison said before anything was planted.
    """

    installation: Installation
    requests: Sequence[DiffRequest]
    rows: list[pa.Table]
    untouched: Findings

    @classmethod
    def of(cls, installation: Installation, requests: Sequence[DiffRequest]) -> World:
        world = cls(installation, requests, [], Findings())
        world.rows = world.stored()
        world.untouched = world.compare()
        return world

    def stored(self) -> list[pa.Table]:
        """The rows of every request, MySQL and lake as one."""
        with self.installation.open() as rt:
            return [join_stores(*_both(rt, each), SHAPES[each.dataset]) for each in self.requests]

    def compare(self, *, fill: bool = False, **options: Any) -> Findings:
        """`run_diff` of every request, as one."""
        found = Findings()
        with self.installation.open() as rt:
            for each in self.requests:
                found.enter(each, run_diff(rt, each, fill=fill, **options))
        return found


@dataclass
class Findings:
    """What comparisons say: counts by their names, and the gaps of each state."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    gaps: dict[str, set[GapTold]] = field(default_factory=lambda: defaultdict(set))
    errors: list[Any] = field(default_factory=list)

    def enter(self, request: DiffRequest, report: GapReport) -> None:
        for name in ("checked", "missing", "extra", "different", "unfillable", "failed", "filled", "restated",
                     "quarantined"):  # fmt: skip
            self.counts[name] += getattr(report, name)
        for state in {gap.state for gap in report.gaps}:
            self.gaps[state] |= _joined(request.dataset, [gap for gap in report.gaps if gap.state == state])
        self.errors += report.errors

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


def _joined(dataset: Dataset, gaps: Sequence[GapRow]) -> set[GapTold]:
    """Gaps as told, those that touch as one: a comparison goes month by month. Settlements stand by themselves."""
    found: list[list[Any]] = []
    for gap in sorted(gaps, key=lambda gap: (gap.symbol, gap.interval, gap.start)):
        row = [dataset, gap.symbol, gap.interval, gap.start, gap.end, gap.bars]
        if found and dataset is not Dataset.FUNDING and found[-1][:3] == row[:3] and found[-1][4] == row[3]:
            found[-1][4:] = [row[4], found[-1][5] + row[5]]
        else:
            found.append(row)
    return {(row[0], row[1], row[2], row[3], row[4], row[5]) for row in found}


@dataclass
class Planted:
    """What was planted.

    Attributes:
        holes: of each series the runs that are missing everywhere, `[start, end)`, and how many rows each has.
        altered: places, each with the column.
        extra: places.
        covered: decoys: holes in one store that the other covers; nothing is missing of them.
    """

    holes: dict[Series, list[tuple[Window, int]]] = field(default_factory=lambda: defaultdict(list))
    altered: dict[Place, str] = field(default_factory=dict)
    extra: list[Place] = field(default_factory=list)
    covered: int = 0

    @property
    def missing(self) -> int:
        """Rows that the holes took."""
        return sum(rows for found in self.holes.values() for _, rows in found)

    def gaps(self) -> set[GapTold]:
        """The gaps that a comparison must tell. Settlements have no grid: each is a gap of its own, a minute long."""
        return {
            (*series, iso(window.start_ms), iso(window.end_ms), rows)
            for series, found in self.holes.items()
            for window, rows in found
        }


@dataclass
class _Standing:
    """One series as it is stored: times, the stores that have each, and which rows are taken by a plant or its rim."""

    series: Series
    window: Window
    step_ms: int
    times: np.ndarray[Any, np.dtype[np.int64]]
    hot: np.ndarray[Any, np.dtype[np.bool_]]
    cold: np.ndarray[Any, np.dtype[np.bool_]]
    taken: np.ndarray[Any, np.dtype[np.bool_]]

    def free(self, first: int, last: int) -> bool:
        """Whether the rows and their neighbours are nobody's."""
        return not self.taken[max(0, first - 1) : last + 1].any()

    def take(self, first: int, last: int) -> None:
        self.taken[max(0, first - 1) : last + 1] = True


def plant(world: World, *, seed: int, holes: int = 0, altered: int = 0, extra: int = 0, covered: int = 0) -> Planted:
    """Damage the stores of a world.

    Raises:
        ValueError: there is no room for so many.
    """
    draw = random.Random(seed)
    planted = Planted()
    with world.installation.open() as rt:
        standing = [one for each in world.requests for one in _standing(rt, each)]
        out = _Stores(world.installation, rt)
        for number in range(holes):
            _hole(draw, standing, planted, out, rows=_DAYS[number] if holes > 20 and number < len(_DAYS) else None)
        for _ in range(covered):
            _covered(draw, standing, planted, out)
        for _ in range(altered):
            _alter(draw, standing, planted, out)
        spare = [place for each in world.requests for place in _denied(world, each)]
        if len(spare) < extra:
            raise ValueError(f"room for {len(spare)} extra rows, not for {extra}")
        for place in draw.sample(spare, extra):
            planted.extra.append(place)
            out.add(draw, place, _model(world, place))
        out.flush()
    return planted


def _hole(
    draw: random.Random, standing: list[_Standing], planted: Planted, out: _Stores, rows: int | None = None
) -> None:
    def try_it(one: _Standing) -> bool:
        length = rows or draw.choice(LENGTHS)
        length = min(length, max(1, int(len(one.times) * (1 if rows else _ROOM))))
        if rows and length < rows:
            return False
        first = draw.randrange(len(one.times) - length + 1)
        last = first + length
        span = one.times[first:last]
        whole = one.step_ms and span[-1] - span[0] == (length - 1) * one.step_ms
        if not one.free(first, last) or (one.step_ms and not whole):
            return False
        one.take(first, last)
        out.delete(
            one.series, span.tolist(), hot=bool(one.hot[first:last].any()), cold=bool(one.cold[first:last].any())
        )
        step = one.step_ms or 60_000
        if one.step_ms:
            planted.holes[one.series].append((Window(int(span[0]), int(span[-1]) + step), length))
        else:
            planted.holes[one.series] += [(Window(at, at + step), 1) for at in span.tolist()]
        return True

    _place(draw, standing, try_it, f"a hole of {rows or 'some'} rows")


def _covered(draw: random.Random, standing: list[_Standing], planted: Planted, out: _Stores) -> None:
    def try_it(one: _Standing) -> bool:
        at = draw.randrange(len(one.times))
        if not (one.hot[at] and one.cold[at] and one.free(at, at + 1)):
            return False
        one.take(at, at + 1)
        hot = draw.random() < 0.5
        out.delete(one.series, [int(one.times[at])], hot=hot, cold=not hot)
        planted.covered += 1
        return True

    _place(draw, standing, try_it, "a row that both stores hold")


def _alter(draw: random.Random, standing: list[_Standing], planted: Planted, out: _Stores) -> None:
    def try_it(one: _Standing) -> bool:
        at = draw.randrange(len(one.times))
        if not one.free(at, at + 1):
            return False
        one.take(at, at + 1)
        place = (*one.series, int(one.times[at]))
        planted.altered[place] = out.alter(draw, place, hot=bool(one.hot[at]))
        return True

    _place(draw, standing, try_it, "a row to alter")


def _place(draw: random.Random, standing: list[_Standing], try_it: Callable[[_Standing], bool], what: str) -> None:
    """Try series at random until one has room."""
    for _ in range(_TRIES):
        one = draw.choice(standing)
        if len(one.times) and try_it(one):
            return
    raise ValueError(f"no room for {what}: make the world larger")


class _Stores:
    """Damage done to MySQL at once and to the lake altogether at the end, its books kept true."""

    def __init__(self, installation: Installation, rt: Runtime) -> None:
        self._db, self._rt = installation.db, rt
        self._gone: dict[Dataset, list[tuple[str, str, int]]] = defaultdict(list)
        self._written: dict[Dataset, list[pa.Table]] = defaultdict(list)

    def delete(self, series: Series, times: list[int], *, hot: bool, cold: bool) -> None:
        dataset, symbol, label = series
        if hot:
            named, values = _where(dataset, symbol, label)
            with self._db.engine.begin() as connection:
                marks = ", ".join(["'1970-01-01' + INTERVAL %s SECOND"] * len(times))
                connection.exec_driver_sql(
                    f"DELETE FROM {dataset} WHERE {named} AND ts IN ({marks})",
                    (*values, *(at // 1000 for at in times)),
                )
        if cold:
            self._gone[dataset] += [(symbol, label, at) for at in times]

    def alter(self, draw: random.Random, place: Place, *, hot: bool) -> str:
        """Another value in one column of a row, in MySQL if it has the row, else in the lake; which column."""
        dataset, symbol, label, at = place
        shape = SHAPES[dataset]
        row = _row(self._rt, place, hot=hot)
        told = [name for name in shape.values if row[name][0].as_py() is not None and name not in _UNTOLD]
        name = draw.choice(told)
        value = row[name][0].as_py()
        kind = shape.schema.field(name).type
        if pa.types.is_decimal(kind):
            value += draw.choice((1, -1, 7, 100_000)) * Decimal(1).scaleb(-kind.scale)
            value = abs(value) if name not in ("rate",) else value
        elif pa.types.is_timestamp(kind):
            value = pa.scalar(millis_of(row[name])[0].item() + 1, pa.int64()).cast(kind).as_py()
        else:
            value += 1
        changed = _with(row, name, pa.array([value], kind))
        if changed[name].equals(row[name]):
            return self.alter(draw, place, hot=hot)
        if hot:
            named, values = _where(dataset, symbol, label)
            bound = value.replace(tzinfo=None) if pa.types.is_timestamp(kind) else value
            with self._db.engine.begin() as connection:
                done = connection.exec_driver_sql(
                    f"UPDATE {dataset} SET `{name}` = %s WHERE {named} AND ts = '1970-01-01' + INTERVAL %s SECOND",
                    (bound, *values, at // 1000),
                )
                assert done.rowcount == 1, place
        else:
            self._written[dataset].append(changed)
        return name

    def add(self, draw: random.Random, place: Place, model: pa.Table) -> None:
        """A row that is not there in the exchange, made from another one of its series."""
        dataset, _, _, at = place
        kind = model.schema.field("ts").type
        made = _from_rest(_with(model, "ts", pa.array([at], pa.int64()).cast(kind)))
        if dataset is Dataset.FUNDING:
            made = _with(made, "exchange_ts", pa.array([at + 2], pa.int64()).cast(kind))
        if draw.random() < 0.5:
            self._written[dataset].append(made)
            return
        names = made.schema.names
        values = [made[name][0].as_py() for name in names]
        values = [value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value for value in values]
        columns, marks = ", ".join(f"`{name}`" for name in names), ", ".join(["%s"] * len(names))
        with self._db.engine.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO {dataset} ({columns}, receipt_id) VALUES ({marks}, 1)", tuple(values)
            )

    def flush(self) -> None:
        """Bring the lake's part about."""
        for dataset, keys in self._gone.items():
            shape = SHAPES[dataset]
            column = {"symbol": [key[0] for key in keys], "ts": pa.array([key[2] for key in keys], pa.int64())}
            column["ts"] = column["ts"].cast(shape.schema.field("ts").type)
            column["exchange"] = pa.repeat(_EXCHANGE, len(keys))
            if shape.label:
                column[shape.label] = [key[1] or "Regular" for key in keys]
            table = pa.table({name: column[name] for name in shape.key})
            put_archive_receipts(self._rt.db, self._rt.lake.remove(table, dataset=dataset), dataset=str(dataset))
        for dataset, tables in self._written.items():
            receipts = self._rt.lake.write(pa.concat_tables(tables), dataset=dataset)
            put_archive_receipts(self._rt.db, receipts, dataset=str(dataset))


_UNTOLD = frozenset({"interval_hours"})
"""What REST does not say: a wrong one is not to be seen."""


def _where(dataset: Dataset, symbol: str, label: str) -> tuple[str, tuple[str, ...]]:
    named = "exchange = 'binance' AND symbol = %s"
    if dataset is Dataset.OHLCV:
        return f"{named} AND `interval` = %s", (symbol, label)
    return named, (symbol,)


def _from_rest(rows: pa.Table) -> pa.Table:
    return _with(rows, "source", pa.repeat(pa.scalar(int(Source.REST), pa.uint8()), rows.num_rows))


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The rows with another column in place of one."""
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)


def _row(rt: Runtime, place: Place, *, hot: bool) -> pa.Table:
    dataset, symbol, label, at = place
    one = DiffRequest(
        dataset=dataset, symbols=(symbol,), intervals=(Interval(label),) if label else ALL_INTERVALS,
        start_ms=at, end_ms=at + 1000,
    )  # fmt: skip
    row = _both(rt, one)[0 if hot else 1]
    assert row.num_rows == 1, place
    return row.combine_chunks()


def _both(rt: Runtime, request: DiffRequest) -> tuple[pa.Table, pa.Table]:
    """What MySQL holds of a request, and what the lake does."""
    symbols, window = list(request.symbols), request.window
    if request.dataset is Dataset.OHLCV:
        return (
            read_bars(rt.db, symbols, request.intervals, window),
            rt.lake.read(window, symbols=symbols, intervals=request.intervals, exchange=_EXCHANGE),
        )
    return (
        read_rows(rt.db, request.dataset, _EXCHANGE, symbols, window),
        rt.lake.read_rows(request.dataset, window, symbols),
    )


def _standing(rt: Runtime, request: DiffRequest) -> Iterator[_Standing]:
    hot, cold = (_times(request.dataset, table) for table in _both(rt, request))
    for series in sorted({*hot, *cold}):
        mine = [found.get(series, np.empty(0, np.int64)) for found in (hot, cold)]
        times = np.union1d(*mine)
        held = [np.isin(times, each) for each in mine]
        yield _Standing(series, request.window, step_of(series), times, *held, np.zeros(len(times), np.bool_))


def _times(dataset: Dataset, table: pa.Table) -> dict[Series, Any]:
    labels = table["interval"].to_pylist() if dataset is Dataset.OHLCV else [""] * table.num_rows
    found: dict[Series, list[int]] = defaultdict(list)
    for symbol, label, at in zip(table["symbol"].to_pylist(), labels, millis_of(table["ts"]).tolist(), strict=True):
        found[dataset, symbol, label].append(at)
    return {series: np.unique(np.array(times, np.int64)) for series, times in found.items()}


def step_of(series: Series) -> int:
    """The grid of a series; 0 where it has none."""
    dataset, _, label = series
    if dataset is Dataset.FUNDING:
        return 0
    return Interval(label).ms if label else SHAPES[dataset].step_ms or 0


def _denied(world: World, request: DiffRequest) -> Iterator[Place]:
    """Places of a request where the exchange has nothing: on the grid (of settlements: on full hours), not stored."""
    rows = world.rows[world.requests.index(request)]
    for series, times in _times(request.dataset, rows).items():
        step = step_of(series) or HOUR_MS
        grid = np.arange(request.start_ms + -request.start_ms % step, request.end_ms, step)
        yield from ((*series, at) for at in np.setdiff1d(grid, times).tolist())


def _model(world: World, place: Place) -> pa.Table:
    """A stored row of the same series."""
    dataset, symbol, label, _ = place
    for each, rows in zip(world.requests, world.rows, strict=True):
        if each.dataset is dataset:
            table = rows.filter(pa.compute.equal(rows["symbol"], symbol))
            if label:
                table = table.filter(pa.compute.equal(table["interval"], label))
            if table.num_rows:
                return table.slice(0, 1).combine_chunks()
    raise ValueError(f"no row of {place}")


def values_of(tables: Iterable[pa.Table]) -> list[list[dict[str, Any]]]:
    """Rows as what they say, not how they came. The hours of a settlement are left out: REST does not tell them, so
    that one which it gave back lacks them until the archive's month is read."""
    untold = {"source", *_UNTOLD}
    return [table.select([name for name in table.schema.names if name not in untold]).to_pylist() for table in tables]


def booked(installation: Installation, table: str, *, after_id: int = 0, where: str = "1 = 1") -> set[Place]:
    """The rows that a book names, later than an entry."""
    found = installation.rows(
        f"SELECT dataset, symbol, `interval`, CAST(UNIX_TIMESTAMP(ts) AS SIGNED) * 1000 FROM {table}"
        f" WHERE id > {after_id} AND {where}"
    )
    return {
        (Dataset(dataset), symbol, label if dataset == Dataset.OHLCV else "", at)
        for dataset, symbol, label, at in found
    }


def last_id(installation: Installation, table: str) -> int:
    """The newest entry of a book."""
    return int(installation.rows(f"SELECT COALESCE(MAX(id), 0) FROM {table}")[0][0])
