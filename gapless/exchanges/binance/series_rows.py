"""Rows of funding and metrics, one at a time: each value exact or the row rejected, each key once. Pure.

An archive file and an answer of REST come to the same form here, a mapping of column names to texts, because the text
of a value is the same in both.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from functools import partial

import msgspec
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.window import to_ms
from gapless.exchanges.binance.rows import END_OF_TIME_MS, Rejected, RowRejected, split_rows
from gapless.exchanges.binance.vision.member import BrokenFile
from gapless.exchanges.binance.vision.objects import ArchiveObject

Value = Decimal | int | None

_INTEGER = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_DECIMAL = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_ZERO = Decimal(0)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ParsedRows:
    """What a file or the answers to a request say.

    Attributes:
        rows: schema of the dataset's `Shape`, sorted by its key, each key once.
        rejected: rows not taken, `raw` as received (points of the metrics endpoints with the endpoint's name in front).
            `ts` is the canonical time where it could be read. Reasons: `json`, `columns`, `type`, `time`, `precision`
            as for bars; `symbol` (another instrument's row), `grid` (a time too far from the five minutes' grid),
            `period` (outside what the file covers or was asked for), `blank` (no value at all), `conflict` (rows of
            one key disagree: none is taken), `duplicate` (said before).
        read: data rows of the file, or points of the answers.
    """

    rows: pa.Table
    rejected: list[Rejected]
    read: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that was read: its key (label, canonical ts in ms), its values, its text, and its own time as sent."""

    label: str
    ts: int
    values: tuple[Value, ...]
    raw: str
    sent_ms: int

    @property
    def key(self) -> tuple[str, int]:
        return self.label, self.ts


Fields = Callable[[], Mapping[str, str]]
"""The texts of a row by column name; raises RowRejected (`columns`, `type`)."""
Reading = Callable[[Mapping[str, str], str], Taken]
"""A row of texts and its raw text -> what is taken of it; raises RowRejected."""
Timing = Callable[[Mapping[str, str]], int]
"""The canonical time of a row that may be broken elsewhere; raises RowRejected."""


@dataclass(slots=True)
class Ledger:
    """Rows of one series as they are read: taken or rejected, none lost.

    Attributes:
        source: written in front of the text of every rejected row; empty for files.
    """

    symbol: str
    taken: list[Taken]
    rejected: list[Rejected]
    read: int = 0
    source: str = ""

    @classmethod
    def of(cls, symbol: str, source: str = "") -> Ledger:
        """An empty one."""
        return cls(symbol, [], [], source=source)

    def enter(self, raw: str, fields: Fields, read: Reading, time: Timing) -> Taken | None:
        """Take what `read` makes of a row, or reject it; `time` is asked for the time of a row that is broken."""
        self.read += 1
        try:
            row = read(fields(), raw)
        except RowRejected as why:
            self.reject(_or_none(fields, time), why.reason, raw)
            return None
        self.taken.append(row)
        return row

    def reject(self, ts: int | None, reason: str, raw: str) -> None:
        """Book a row that is not taken."""
        self.rejected.append(Rejected(self.symbol, "", ts, reason, f"{self.source} {raw}" if self.source else raw))

    def settle(self) -> list[Taken]:
        """Each key once, in order. Rows of one key that nowhere disagree are one row: a value stands for a blank."""
        by_key: dict[tuple[str, int], list[Taken]] = {}
        for row in self.taken:
            by_key.setdefault(row.key, []).append(row)
        settled: list[Taken] = []
        for key in sorted(by_key):
            rows = by_key[key]
            values = _joined(rows) if len(rows) > 1 else rows[0].values
            if values is None:
                for row in rows:
                    self.reject(row.ts, "conflict", row.raw)
                continue
            settled.append(replace(rows[0], values=values))
            for row in rows[1:]:
                self.reject(row.ts, "duplicate", row.raw)
        return settled


def _joined(rows: list[Taken]) -> tuple[Value, ...] | None:
    """What rows of one key say together; None when they disagree."""
    joined: list[Value] = []
    for column in zip(*(row.values for row in rows), strict=True):
        said = {value for value in column if value is not None}
        if len(said) > 1:
            return None
        joined.append(said.pop() if said else None)
    return tuple(joined)


def _or_none(fields: Fields, time: Timing) -> int | None:
    try:
        return time(fields())
    except RowRejected:
        return None


def exact(text: str, kind: pa.DataType) -> Decimal | None:
    """A decimal of the column type `kind`; a blank is null. Zeros beyond the scale are no loss.

    Raises:
        RowRejected: `type`, or `precision` when the column cannot hold it exactly.
    """
    text = text.strip()
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        raise RowRejected("type")
    number = Decimal(text)
    if not number:
        return _ZERO
    context = Context(prec=kind.precision, Emin=-999_999, Emax=999_999, traps=[Inexact, InvalidOperation])
    try:
        return number.quantize(Decimal(1).scaleb(-kind.scale), context=context)
    except DecimalException:
        raise RowRejected("precision") from None


def required(text: str, kind: pa.DataType) -> Decimal:
    """As `exact`, but a blank is `type`."""
    value = exact(text, kind)
    if value is None:
        raise RowRejected("type")
    return value


def whole(text: str, low: int, high: int, reason: str) -> int:
    """An integer from `low` to `high`.

    Raises:
        RowRejected: `type`, or `reason` when it lies outside.
    """
    text = text.strip()
    if not _INTEGER.fullmatch(text):
        raise RowRejected("type")
    number = int(text)
    if not low <= number <= high:
        raise RowRejected(reason)
    return number


def milliseconds(text: str) -> int:
    """A moment given as integer ms, number or text.

    Raises:
        RowRejected: `type` or `time`.
    """
    return whole(text, 0, END_OF_TIME_MS - 1, "time")


def clock_time(text: str) -> int:
    """A moment in ms from `YYYY-MM-DD HH:MM:SS`, UTC.

    Raises:
        RowRejected: `time`.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RowRejected("time") from None
    at_ms = to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if at_ms < 0:
        raise RowRejected("time")
    return at_ms


def json_rows(body: str | bytes) -> Iterator[tuple[str, Fields]] | None:
    """Each object of a JSON array: its text and its scalar values as sent. None when the body is no such array."""
    rows = split_rows(body.encode() if isinstance(body, str) else body)
    if rows is None:
        return None
    return ((row.decode(errors="replace"), partial(_object, row)) for row in rows)


def _object(row: bytes) -> dict[str, str]:
    try:
        raw = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
        return {name: _scalar(bytes(value)) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RowRejected("type") from None


def _scalar(value: bytes) -> str:
    """A string's content; a number's digits as sent; `null` as blank."""
    if value[:1] == b'"':
        return msgspec.json.decode(value, type=str)
    return "" if value == b"null" else value.decode()


def csv_rows(
    text: bytes, obj: ArchiveObject, columns: tuple[str, ...], *, headless: bool
) -> Iterator[tuple[str, Fields]]:
    """Each line of an archive file below its header: its text and its values by the header's names.

    Args:
        columns: the documented names; the header must have just these, in any order.
        headless: whether a file without a header may be read in the documented order.

    Raises:
        BrokenFile: `header`, or `empty`.
    """
    decoded = text.removeprefix(_BOM).decode(errors="replace")
    lines = [line.removesuffix("\r") for line in decoded.split("\n") if line.strip()]
    if not lines:
        raise BrokenFile(obj, "empty", "its file has no lines")
    names = tuple(name.strip() for name in _cells(lines[0]))
    if sorted(names) == sorted(columns):
        lines = lines[1:]
    elif headless and len(names) == len(columns) and names[0].isdigit():
        names = columns
    else:
        raise BrokenFile(
            obj, "header", f"unknown columns {lines[0][:200]!r} where {', '.join(columns)} belong (in any order)"
        )
    if not lines:
        raise BrokenFile(obj, "empty", "its file has no rows")
    return ((line, partial(_by_name, names, line)) for line in lines)


def _by_name(names: tuple[str, ...], line: str) -> dict[str, str]:
    cells = _cells(line)
    if len(cells) != len(names):
        raise RowRejected("columns")
    return dict(zip(names, cells, strict=True))


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        raise RowRejected("columns") from None


def table(
    dataset: Dataset, exchange: str, symbol: str, source: int, columns: Iterable[tuple[str, Iterable[object]]]
) -> pa.Table:
    """The canonical table of one symbol from columns of the dataset's own: Arrow's, or values with times as ms."""
    schema = SHAPES[dataset].schema
    arrays: dict[str, pa.Array | pa.ChunkedArray] = {}
    length = 0
    for name, values in columns:
        kind = schema.field(name).type
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(list(values), pa.int64() if pa.types.is_timestamp(kind) else kind)
        arrays[name] = values.cast(kind)
        length = len(values)
    arrays["exchange"] = pa.repeat(pa.scalar(exchange, pa.string()), length)
    arrays["symbol"] = pa.repeat(pa.scalar(symbol, pa.string()), length)
    arrays["source"] = pa.repeat(pa.scalar(int(source), pa.uint8()), length)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)
