"""Rows on their way into hour objects: sorted runs on the local disk, given back symbol by symbol.

However many rows an hour has, memory holds one run while they come, and one piece of one symbol while they leave.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.domain.stream_columns import StreamShape
from gapless.domain.window import HOUR_MS
from gapless.errors import StorageError
from gapless.storage.lake.hour_layout import HourObject, hour_bucket
from gapless.storage.lake.temporary import temporary_file

RUN_ROWS = 262_144
"""Rows that are sorted together."""
RUN_SUFFIX = ".run"


@dataclass(frozen=True, slots=True)
class _Batch:
    """Where a run's rows of one symbol lie in a file."""

    number: int
    rows: int
    first_ms: int
    last_ms: int


@dataclass
class _File:
    """The runs of one object."""

    path: Path
    writer: Any
    symbols: dict[str, list[_Batch]] = field(default_factory=dict)
    batches: int = 0


class Runs:
    """Takes rows of one dataset and exchange in any order; gives them back by object and symbol. Use as a context.

    Args:
        folder: on a disk with room for the rows, compressed lightly. What a killed process leaves there is removed by
            `temporary.sweep`.
        run_rows: how many rows are sorted together.
    """

    def __init__(self, folder: Path, shape: StreamShape, exchange: str, *, run_rows: int = RUN_ROWS) -> None:
        self._folder, self._shape, self._exchange, self._run_rows = folder, shape, exchange, run_rows
        self._held: list[pa.Table] = []
        self._count = 0
        self._files: dict[HourObject, _File] = {}
        self._stack = ExitStack()
        self._order = ("symbol", *shape.order)

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, rows: pa.Table) -> None:
        """More rows.

        Raises:
            StorageError: the local disk is full.
        """
        self._held.append(rows)
        self._count += rows.num_rows
        if self._count >= self._run_rows:
            self._flush()

    def finish(self) -> list[HourObject]:
        """No more rows come; the objects that they belong to, oldest hour first.

        Raises:
            StorageError: the local disk is full.
        """
        self._flush()
        try:
            for file in self._files.values():
                file.writer.close()
        except OSError as error:
            raise _no_room(self._folder, error) from error
        return sorted(self._files, key=lambda each: (each.hour_ms, each.bucket or 0))

    def symbols(self, target: HourObject) -> dict[str, int]:
        """How many rows of each symbol wait for an object."""
        return {symbol: sum(batch.rows for batch in batches) for symbol, batches in self._files[target].symbols.items()}

    def rows(self, target: HourObject, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """The rows of a symbol with a `ts` in `[start_ms, end_ms)`, in no order."""
        file = self._files[target]
        found = [self._shape.schema.empty_table()]
        wanted = [b for b in file.symbols.get(symbol, ()) if b.first_ms < end_ms and b.last_ms >= start_ms]
        if wanted:
            with pa.OSFile(str(file.path)) as source, pa.ipc.open_file(source) as reader:
                for batch in wanted:
                    rows = pa.Table.from_batches([reader.get_batch(batch.number)])
                    ts = _times(rows)
                    first, last = np.searchsorted(ts, [start_ms, end_ms])  # a run is in order of time
                    found.append(rows.slice(first, last - first))
        return pa.concat_tables(found)

    def _flush(self) -> None:
        rows = pa.concat_tables([self._shape.schema.empty_table(), *self._held]).combine_chunks()
        self._held, self._count = [], 0
        if not rows.num_rows:
            return
        rows = rows.take(pa.array(ordered(rows, self._order)))
        starts = changes(rows, ("symbol",), also=_times(rows) // HOUR_MS)
        firsts = rows.take(pa.array(starts))
        names, hours = firsts["symbol"].to_pylist(), (_times(firsts) // HOUR_MS * HOUR_MS).tolist()
        try:
            for symbol, hour_ms, start, end in zip(names, hours, starts, [*starts[1:], rows.num_rows], strict=True):
                target = HourObject(self._shape.dataset, self._exchange, hour_ms, hour_bucket(self._shape, symbol))
                self._append(target, symbol, rows.slice(start, end - start))
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def _append(self, target: HourObject, symbol: str, rows: pa.Table) -> None:
        file = self._files.get(target)
        if file is None:
            path, _ = self._stack.enter_context(temporary_file(self._folder, suffix=RUN_SUFFIX))
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            writer = pa.ipc.new_file(str(path), self._shape.schema, options=options)
            self._stack.callback(_let_go, writer)
            file = self._files[target] = _File(path, writer)
        ts = _times(rows)
        for batch in rows.combine_chunks().to_batches():
            file.writer.write_batch(batch)
            file.symbols.setdefault(symbol, []).append(_Batch(file.batches, batch.num_rows, int(ts[0]), int(ts[-1])))
            file.batches += 1


def ordered(rows: pa.Table, names: tuple[str, ...], *more: np.ndarray) -> np.ndarray:
    """Row numbers in the order of these columns, then of `more`; rows that are equal keep theirs."""
    keys = [*(codes(rows[name]) for name in names), *more]
    found: np.ndarray = np.lexsort(keys[::-1])
    return found


def changes(rows: pa.Table, names: tuple[str, ...], also: np.ndarray | None = None) -> np.ndarray:
    """Row numbers at which one of the columns (or of `also`) differs from the row before, 0 included."""
    changed = np.zeros(rows.num_rows, bool)
    changed[:1] = True
    for numbers in [*(codes(rows[name]) for name in names), *([] if also is None else [also])]:
        changed[1:] |= numbers[1:] != numbers[:-1]
    return np.flatnonzero(changed)


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """A column without nulls as integers that sort as its values do."""
    if pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type):
        plain: np.ndarray = column.cast(pa.int64()).to_numpy()
        return plain
    coded = column.combine_chunks()
    coded = (coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded).dictionary_encode()
    values = coded.dictionary.to_pylist()
    ranks = np.empty(len(values), np.int64)
    ranks[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    found: np.ndarray = ranks[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def _times(rows: pa.Table) -> np.ndarray:
    found: np.ndarray = rows["ts"].cast(pa.int64()).to_numpy()
    return found


def _let_go(writer: Any) -> None:
    """Close a file that is removed next: on a full disk that fails once more, and the first failure is the news."""
    with suppress(OSError):
        writer.close()


def _no_room(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder}: rows could not be sorted on the local disk: {error.strerror or error}; nothing was published of "
        "them and the spool keeps its entries: make room and run it again"
    )
