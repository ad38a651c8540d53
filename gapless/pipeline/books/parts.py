"""How a book is cut into objects, so that what did not change since yesterday makes the same bytes again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.domain.row_digest import RowsDigest
from gapless.storage.lake.book_zone import part_writer
from gapless.storage.lake.temporary import temporary_file

CUT_BY_MONTH = {"archive_series": "day"}
"""Books whose old months rest while all of their series grow: a part holds a month."""

_GROUP_ROWS = 32_768
_GROUP_ROWS_OF_MONTHS = 8_192  # many months fill at once
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

    Where a row group and a part end depends on nothing but the rows of its own label before, so that a part that
    closed keeps its bytes while rows are added behind it. Memory: a row group for each label.
    """

    def __init__(self, table: str, schema: pa.Schema, folder: Path, files: ExitStack) -> None:
        self.digest = BookDigest()
        self._table, self._schema, self._folder, self._files = table, schema, folder, files
        self._group_rows = _GROUP_ROWS_OF_MONTHS if table in CUT_BY_MONTH else _GROUP_ROWS
        self._labels: dict[str, _Label] = defaultdict(_Label)

    def add(self, rows: pa.Table) -> None:
        """Add rows behind those before.

        Raises:
            OSError: the folder's disk is full, say.
        """
        for name, mine in labelled(self._table, rows):
            self.digest.add(name, mine)
            label = self._labels[name]
            at = 0
            while at < mine.num_rows:
                taken = mine.slice(at, self._group_rows - label.waiting_rows)
                label.waiting.append(taken)
                label.waiting_rows += taken.num_rows
                label.waiting_bytes += taken.nbytes
                at += taken.num_rows
                if label.waiting_rows >= self._group_rows or label.waiting_bytes >= _GROUP_BYTES:
                    self._flush(name, label)

    def finish(self) -> list[Part]:
        """Close all parts; by label and number."""
        for name, label in self._labels.items():
            self._flush(name, label)
            self._close(name, label)
        return [part for _, label in sorted(self._labels.items()) for part in label.parts]

    def _flush(self, name: str, label: _Label) -> None:
        if not label.waiting_rows:
            return
        if label.writer is None:
            label.path, _ = self._files.enter_context(temporary_file(self._folder, suffix=SPOOL_SUFFIX))
            label.writer = part_writer(str(label.path), self._schema)
        group = pa.concat_tables(label.waiting).combine_chunks()
        label.writer.write_table(group, row_group_size=group.num_rows)
        label.rows += group.num_rows
        label.bytes += label.waiting_bytes
        label.waiting, label.waiting_rows, label.waiting_bytes = [], 0, 0
        if label.bytes >= _PART_BYTES:
            self._close(name, label)

    def _close(self, name: str, label: _Label) -> None:
        if label.writer is None or label.path is None:
            return
        label.writer.close()
        label.parts.append(Part(name, len(label.parts), label.path, label.rows))
        label.writer, label.path, label.rows, label.bytes = None, None, 0, 0


@dataclass
class _Label:
    waiting: list[pa.Table] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    writer: pq.ParquetWriter | None = None
    path: Path | None = None
    rows: int = 0
    bytes: int = 0
    parts: list[Part] = field(default_factory=list)
