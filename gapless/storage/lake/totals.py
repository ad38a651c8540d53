"""Exact totals of series: of rows at hand, and of a month read back from the store."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Shape
from gapless.domain.text_runs import changes
from gapless.domain.totals import SeriesKey, SeriesTotals
from gapless.errors import StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.layout import LakeObject, Month
from gapless.storage.lake.objects import Damaged, ObjectStore, Stat, uri_of
from gapless.storage.lake.parquet import damaged, footer_of, row_groups_of

Words: TypeAlias = npt.NDArray[np.int64]

_HALF = np.int64(32)
_LOW = np.int64(0xFFFF_FFFF)
_READS = 8
"""How often an object is read that others replace at the same time."""


@dataclass(frozen=True, slots=True)
class ObjectFact:
    """One object as it lies in the store.

    Attributes:
        sha256: of its bytes, hex.
        content_digest: of its rows, as its footer tells it.
    """

    key: str
    uri: str
    bytes: int
    sha256: str
    rows: int
    content_digest: str


@dataclass(frozen=True, slots=True)
class MonthContents:
    """A month as it lies in the store, every row of it read.

    Attributes:
        objects: in the order of their keys.
        totals: of each series, over all objects.
        digest: sha256 over the lines `key sha256 rows`, in that order: two readings of the same bytes have the same.
    """

    month: Month
    objects: tuple[ObjectFact, ...]
    totals: dict[SeriesKey, SeriesTotals]
    digest: str

    @property
    def rows(self) -> int:
        """How many rows the month has."""
        return sum(one.rows for one in self.objects)

    @property
    def bytes(self) -> int:
        """How large its objects are together."""
        return sum(one.bytes for one in self.objects)


@dataclass
class _Running:
    """The totals of one series so far, in whole units of each column's scale."""

    columns: int
    rows: int = 0
    first_ms: int = 1 << 62
    last_ms: int = -(1 << 62)
    ts_ms: int = 0
    counts: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * self.columns
        self.units = [0] * self.columns

    def include(self, other: _Running) -> None:
        self.rows += other.rows
        self.first_ms, self.last_ms = min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms)
        self.ts_ms += other.ts_ms
        for column in range(self.columns):
            self.counts[column] += other.counts[column]
            self.units[column] += other.units[column]


class TotalsStream:
    """Totals of canonical rows as they pass, in any order; memory for the totals alone."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._running: dict[SeriesKey, _Running] = {}

    def update(self, rows: pa.Table) -> None:
        """More rows."""
        if not rows.num_rows:
            return
        shape, rows = self._shape, rows.combine_chunks()
        starts, keys = _series(rows, shape)
        ts = _integers(_array(rows["ts"]))
        sizes = np.diff(np.append(starts, rows.num_rows)).tolist()
        firsts, lasts = np.minimum.reduceat(ts, starts).tolist(), np.maximum.reduceat(ts, starts).tolist()
        moments = _sums(ts, starts)
        columns = [_column(_array(rows[name]), starts, sizes) for name in shape.values]
        for number, key in enumerate(keys):
            held = self._running.get(key)
            if held is None:
                held = self._running[key] = _Running(len(columns))
            held.rows += sizes[number]
            held.first_ms, held.last_ms = min(held.first_ms, firsts[number]), max(held.last_ms, lasts[number])
            held.ts_ms += moments[number]
            for column, (counts, units) in enumerate(columns):
                held.counts[column] += counts[number]
                held.units[column] += units[number]

    def include(self, other: TotalsStream) -> None:
        """Add what another one saw of the same shape."""
        for key, running in other._running.items():
            self._running.setdefault(key, _Running(running.columns)).include(running)

    def totals(self) -> dict[SeriesKey, SeriesTotals]:
        """The totals so far, in the order of the series."""
        types = [self._shape.schema.field(name).type for name in self._shape.values]
        scales = [each.scale if pa.types.is_decimal(each) else 0 for each in types]
        return {
            key: SeriesTotals(
                rows=of.rows,
                first_ms=of.first_ms,
                last_ms=of.last_ms,
                ts_seconds=of.ts_ms // 1000,
                counts=tuple(of.counts),
                # Made of text: arithmetic of decimals would round to the context's 28 digits.
                sums=tuple(Decimal(f"{units}E-{scale}") for units, scale in zip(of.units, scales, strict=True)),
            )
            for key, of in sorted(self._running.items())
        }


Read: TypeAlias = tuple[ObjectFact, TotalsStream]


def totals_of(shape: Shape, tables: Iterable[pa.Table]) -> dict[SeriesKey, SeriesTotals]:
    """The exact totals of each series in canonical rows, which may come in any order and in any pieces."""
    stream = TotalsStream(shape)
    for table in tables:
        stream.update(table)
    return stream.totals()


def read_back(store: ObjectStore, month: Month, *, threads: int = 2) -> MonthContents:
    """Read every object of a month whole from the store, and say what it holds.

    Each page's checksum is compared, and each footer's count; the objects' names say what period and symbols their rows
    are of, and a row of another is damage. Memory: the bytes of `threads` objects, and a row group of each.

    Raises:
        Damaged: an object's bytes cannot be trusted; `error.uri` says which.
        StorageError: the store is away.
    """
    targets = [
        target
        for stat in store.list(month.prefix)
        if (target := layout.parse_key(stat.key)) is not None and target.month == month
    ]
    whole, facts = TotalsStream(SHAPES[month.dataset]), []
    for read in _in_turn(store, targets, threads):
        if read is not None:  # else a repair took its last row since it was listed
            facts.append(read[0])
            whole.include(read[1])
    lines = "".join(f"{fact.key} {fact.sha256} {fact.rows}\n" for fact in facts)
    return MonthContents(month, tuple(facts), whole.totals(), hashlib.sha256(lines.encode()).hexdigest())


def _in_turn(store: ObjectStore, targets: list[LakeObject], threads: int) -> Iterator[Read | None]:
    """Each object's fact and totals, in order; no more than `threads` of them are read ahead."""
    if threads < 2 or len(targets) < 2:
        yield from (read_object(store, target) for target in targets)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="read-back") as pool:
        ahead: deque[Future[Read | None]] = deque()
        try:
            for target in targets:
                if len(ahead) > threads:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(read_object, store, target))
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()


def read_object(store: ObjectStore, target: LakeObject) -> Read | None:
    """One object, every row of it read; what it is, and its totals. None when nothing lies there.

    Raises:
        Damaged: its bytes cannot be trusted.
    """
    seen: Stat | None = None
    for _ in range(_READS):
        try:
            return _read_once(store, target)
        except Damaged:
            # A server that is not atomic between its answer's head and body (rclone) mixes two versions when the object
            # is replaced in between. Damaged twice as the same version, it is damaged.
            now = store.head(target.key)
            if now is not None and now == seen:
                raise
            seen = now
    raise StorageError(
        f"{uri_of(store, target.key)} was replaced {_READS} times while it was read; read it again later"
    )


def _read_once(store: ObjectStore, target: LakeObject) -> Read | None:
    uri, shape = uri_of(store, target.key), SHAPES[target.dataset]
    data = store.get(target.key)
    if data is None:
        return None
    totals = TotalsStream(shape)
    for rows in row_groups_of(pa.BufferReader(data), shape, name=uri):
        totals.update(rows)
    told = footer_of(data, shape, name=uri)
    _belonging(totals, target, uri)
    sha256 = hashlib.sha256(data).hexdigest()
    return ObjectFact(target.key, uri, len(data), sha256, told.rows, told.content_digest), totals


def _belonging(totals: TotalsStream, target: LakeObject, uri: str) -> None:
    for key, of in totals._running.items():
        exchange, symbol, label = key
        if (
            exchange != target.exchange
            or (target.interval is not None and label != target.interval)
            or (target.bucket is not None and layout.bucket_of(symbol) != target.bucket)
            or of.first_ms not in target.window
            or of.last_ms not in target.window
        ):
            raise damaged(uri, f"it holds rows of {' '.join(key).strip()} that belong to another object")


def _series(rows: pa.Table, shape: Shape) -> tuple[npt.NDArray[np.int64], list[SeriesKey]]:
    """Row numbers at which the series changes, and which it is from there on."""
    starts = changes(rows, shape.key[:-1])
    places = pa.array(starts)
    exchanges, symbols = (rows[name].take(places).to_pylist() for name in ("exchange", "symbol"))
    labels = [""] * len(starts) if shape.label is None else rows[shape.label].take(places).to_pylist()
    return starts, list(zip(exchanges, symbols, labels, strict=True))


def _column(array: pa.Array, starts: npt.NDArray[np.int64], sizes: list[int]) -> tuple[list[int], list[int]]:
    """Of each stretch of rows: how many values are not null, and their sum in units."""
    counts, valid = sizes, None
    if array.null_count:
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
        counts = np.add.reduceat(valid.astype(np.int64), starts).tolist()
    if not pa.types.is_decimal128(array.type):
        numbers = _integers(array.fill_null(0) if valid is not None else array)
        return counts, _sums(numbers, starts)
    words = np.frombuffer(array.buffers()[1], np.int64)[2 * array.offset : 2 * (array.offset + len(array))].reshape(
        -1, 2
    )
    if valid is not None:
        words = np.where(valid[:, None], words, 0)  # what lies in a null's place means nothing
    low, high = np.ascontiguousarray(words[:, 0]), words[:, 1]
    if np.array_equal(high, low >> np.int64(63)):  # every value fits 64 bits
        return counts, _sums(low, starts)
    upper = _sums(np.ascontiguousarray(high), starts)
    lower = _sums(low, starts)
    # `_sums` reads the low word as signed: each one with its top bit set came out 2**64 too small.
    wrapped = np.add.reduceat((low < 0).astype(np.int64), starts).tolist()
    return counts, [((up + one) << 64) + down for up, one, down in zip(upper, wrapped, lower, strict=True)]


def _sums(numbers: Words, starts: npt.NDArray[np.int64]) -> list[int]:
    """The exact sum of each stretch, whatever its size."""
    most = max(abs(int(numbers.max())), abs(int(numbers.min())))
    if most * len(numbers) < 1 << 63:
        found: list[int] = np.add.reduceat(numbers, starts).tolist()
        return found
    # By halves of 32 bits no sum of less than two thousand million rows leaves 64 bits.
    uppers = np.add.reduceat(numbers >> _HALF, starts).tolist()
    lowers = np.add.reduceat(numbers & _LOW, starts).tolist()
    return [(upper << 32) + lower for upper, lower in zip(uppers, lowers, strict=True)]


def _integers(array: pa.Array) -> Words:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    return np.asarray(array.to_numpy(zero_copy_only=False), np.int64)


def _array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
