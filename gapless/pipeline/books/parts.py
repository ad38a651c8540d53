"""How a book is cut into objects, so that what did not change since yesterday makes the same bytes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.domain.row_digest import RowsDigest
from gapless.storage.lake.book_zone import part_writer
from gapless.storage.lake.temporary import temporary_file

CUT_BY_MONTH = {"archive_series": "day", "liquidation": "ts"}
"""Books whose old months rest while all of their series grow: a part holds a month."""

_GROUP_ROWS = 32_768
_MONTH_ROWS = 4_096
_GROUP_BYTES = 8 << 20
_PART_BYTES = 64 << 20
SPOOL_SUFFIX = ".books"


class BookDigest:
    """The digest of a book's rows: of each label's, in the order they come, and of the labels in order."""

    def __init__(self) -> None:
        self._labels: dict[str, RowsDigest] = {}

    def add(self, label: str, rows: pa.Table) -> None:
        self._labels.setdefault(label, RowsDigest()).add(rows)

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self._labels.values())

    @property
    def hexdigest(self) -> str:
        told = "".join(f"{name}:{each.rows}:{each.hexdigest}\n" for name, each in sorted(self._labels.items()))
        return sha256(told.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a book in a temporary file."""

    label: str
    number: int
    path: Path
    rows: int


def labelled(table: str, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows by label, order kept within one: `2026-11` where the book is cut by months, else all of them as ``."""
    column = CUT_BY_MONTH.get(table)
    if column is None or rows.num_rows == 0:
        yield "", rows
        return
    months = rows[column].to_numpy().astype("datetime64[M]")
    names, numbers = np.unique(months, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    sorted_rows = rows.take(pa.array(order))
    ends = np.cumsum(np.bincount(numbers, minlength=len(names)))
    for number, name in enumerate(names):
        start = int(ends[number - 1]) if number else 0
        yield str(name), sorted_rows.slice(start, int(ends[number]) - start)


class PartWriter:
    """Cuts a book into parts in temporary files, which live as long as `files`.

    Where a row group and a part end depends on nothing but the rows of their own label, so that a month that rests
    keeps its bytes, and a part that is full does while rows are added behind it. Memory: some thousand rows a label and
    one row group: the months, which all fill at once, are collected in files of their own before a part is made.
    """

    def __init__(self, table: str, schema: pa.Schema, folder: Path, files: ExitStack) -> None:
        self.digest = BookDigest()
        self._table, self._schema, self._folder, self._files = table, schema, folder, files
        self._months: dict[str, _Month] = {}
        self._plain = _Parts("", schema, folder, files)

    def add(self, rows: pa.Table) -> None:
        """Add rows behind those before.

        Raises:
            OSError: the folder's disk is full, say.
        """
        for label, mine in labelled(self._table, rows):
            self.digest.add(label, mine)
            if self._table not in CUT_BY_MONTH:
                self._plain.add(mine)
            elif mine.num_rows:
                if label not in self._months:
                    self._months[label] = _Month(self._schema, self._folder, self._files)
                self._months[label].add(mine)

    def finish(self) -> list[Part]:
        """Close all parts; by label and number."""
        made = self._plain.finish()
        for label, month in sorted(self._months.items()):
            parts = _Parts(label, self._schema, self._folder, self._files)
            for rows in month.drain():
                parts.add(rows)
            made += parts.finish()
        return made


class _Waiting:
    """Rows that wait until there are enough of them."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self.rows = self.bytes = 0

    def add(self, rows: pa.Table) -> None:
        self._tables.append(rows)
        self.rows += rows.num_rows
        self.bytes += rows.nbytes

    def take(self) -> pa.Table:
        taken = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self.rows, self.bytes = [], 0, 0
        return taken


class _Month:
    """The rows of a month as they come, among those of all other months, in a file."""

    def __init__(self, schema: pa.Schema, folder: Path, files: ExitStack) -> None:
        self._path, _ = files.enter_context(temporary_file(folder, suffix=SPOOL_SUFFIX))
        self._open = files.enter_context(ExitStack())
        file = self._open.enter_context(pa.OSFile(str(self._path), "wb"))
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        self._stream = self._open.enter_context(pa.ipc.new_stream(file, schema, options=options))
        self._waiting = _Waiting()

    def add(self, rows: pa.Table) -> None:
        self._waiting.add(rows.take(pa.array(np.arange(rows.num_rows))))  # a slice would hold the whole page
        if self._waiting.rows >= _MONTH_ROWS:
            self._stream.write_table(self._waiting.take())

    def drain(self) -> Iterator[pa.Table]:
        """All rows in order; the file is gone afterwards."""
        if self._waiting.rows:
            self._stream.write_table(self._waiting.take())
        self._open.close()
        with pa.OSFile(str(self._path), "rb") as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])
        self._path.unlink()


class _Parts:
    """Rows of a label as Parquet, part by part."""

    def __init__(self, label: str, schema: pa.Schema, folder: Path, files: ExitStack) -> None:
        self._label, self._schema, self._folder, self._files = label, schema, folder, files
        self._waiting = _Waiting()
        self._writer: pq.ParquetWriter | None = None
        self._path = folder
        self._rows = self._bytes = 0
        self._made: list[Part] = []

    def add(self, rows: pa.Table) -> None:
        at = 0
        while at < rows.num_rows:
            taken = rows.slice(at, _GROUP_ROWS - self._waiting.rows)
            self._waiting.add(taken)
            at += taken.num_rows
            if self._waiting.rows >= _GROUP_ROWS or self._waiting.bytes >= _GROUP_BYTES:
                self._flush()

    def finish(self) -> list[Part]:
        self._flush()
        self._close()
        return self._made

    def _flush(self) -> None:
        if not self._waiting.rows:
            return
        if self._writer is None:
            self._path, _ = self._files.enter_context(temporary_file(self._folder, suffix=SPOOL_SUFFIX))
            self._writer = part_writer(str(self._path), self._schema)
        self._bytes += self._waiting.bytes
        group = self._waiting.take()
        self._writer.write_table(group, row_group_size=group.num_rows)
        self._rows += group.num_rows
        if self._bytes >= _PART_BYTES:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._made.append(Part(self._label, len(self._made), self._path, self._rows))
        self._writer, self._rows, self._bytes = None, 0, 0
