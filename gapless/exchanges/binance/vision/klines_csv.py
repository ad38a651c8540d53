"""The text of an archive kline file -> exact columns, by name, in the order of the file. Pure.

Two readings with one result, as for REST pages (docs/decisions/0010): a regular expression proves that every byte
stands where it does in an ordinary file, and Arrow then parses decimals straight from the text; anything else is read
line by line, and what is not exact is rejected with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gapless.exchanges.binance.payloads import KLINES
from gapless.exchanges.binance.rows import (
    END_OF_TIME_MS,
    FIELDS,
    TIMES,
    WHOLE_DIGITS,
    RowRejected,
    Value,
    read_value,
)

KEPT = FIELDS[:-1]

_BY_HEADER = {
    "open_time": "ts",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "close_time": "close_time",
    "quote_volume": "quote_volume",
    "count": "trades",
    "taker_buy_volume": "taker_buy_volume",
    "taker_buy_quote_volume": "taker_buy_quote_volume",
    "ignore": "ignore",
}
"""The archive's column names (reference 10.2) and ours."""

_TYPES = {name: pa.int64() if name in TIMES else KLINES.field(name).type for name in KEPT}
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_MICROS = 1000
_END_OF_MS = 999
_FIRST_LINE = re.compile(rb"\S[^\n]*\n?")
_NUMERIC = re.compile(r"[-+.0-9]*[0-9](?:[-+.0-9]|[eE][-+0-9])*", re.ASCII)
_DIGITS = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

# What an ordinary file holds. Negative exponents are how old files write small numbers (`1E-8`); Arrow reads them
# exactly or not at all.
_ORDINARY_INTEGER = r"(?:0|[1-9][0-9]*)"
_ORDINARY_DECIMAL = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE]-[0-9]{1,2})?"
_ORDINARY_IGNORED = r"[0-9.]*"

Times = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the values stand.

    Attributes:
        names: our name of each column.
        begin: the byte at which the first data row begins.
    """

    names: tuple[str, ...]
    begin: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is not taken. Attributes: `ts`, its open time in ms where that can be read."""

    ts: int | None
    reason: str
    line: bytes


class Lines:
    """The lines behind the rows taken, cut from the text only when somebody asks."""

    def __init__(self, lines: Sequence[bytes] | Callable[[], Sequence[bytes]]) -> None:
        self._lines = lines

    def at(self, rows: Sequence[int]) -> list[bytes]:
        """The lines of these rows."""
        if not rows:
            return []
        lines = self._lines() if callable(self._lines) else self._lines
        return [lines[row].strip(_BLANK) for row in rows]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a file that are exact, in its order.

    Attributes:
        columns: `KEPT`, times as int64 ms.
        lines: the text of each row.
        refused: the other lines.
    """

    columns: dict[str, pa.ChunkedArray]
    lines: Lines
    refused: tuple[Refused, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in the file, taken or not; blank lines are none."""
        return len(self.columns["ts"]) + len(self.refused)


class UnknownHeader(Exception):
    """The first line names other columns than the documented ones; never leaves this package."""


def sniff(text: bytes) -> Layout:
    """The columns by the header, or the documented order where there is none (spot, and um before 2022).

    Raises:
        UnknownHeader: a column is unknown, missing or there twice. Only `ignore` may be missing.
    """
    begin = len(_BOM) if text.startswith(_BOM) else 0
    first = _FIRST_LINE.search(text, begin)
    names = [name.strip() for name in first[0].decode(errors="replace").split(",")] if first else [""]
    if first is None or _NUMERIC.fullmatch(names[0]) or not any(letter.isalpha() for letter in names[0]):
        return Layout(FIELDS, begin)
    known = tuple(_BY_HEADER.get(name, "") for name in names)
    if len(set(known)) != len(known) or not set(KEPT) <= set(known) <= set(FIELDS):
        raise UnknownHeader(",".join(names))
    return Layout(known, first.end())


def read(text: bytes, layout: Layout) -> Sheet:
    """Every row of the file, fast where the file is ordinary and patiently where it is not."""
    return read_fast(text, layout) or read_patiently(text, layout)


def read_fast(text: bytes, layout: Layout) -> Sheet | None:
    """The rows of an ordinary file; None when anything is odd or a value does not fit its column."""
    buffer = pa.py_buffer(text)
    bounds = pa.py_buffer(np.array([layout.begin, len(text)], np.int64))
    body = pa.Array.from_buffers(pa.large_binary(), 1, [None, bounds, buffer])
    if not pc.match_substring_regex(body, _ordinary(layout.names))[0].as_py():
        return None
    try:
        # One thread: the callers parse a file each, and Arrow's pool must not be reading what Python may free.
        table = pacsv.read_csv(
            pa.BufferReader(buffer.slice(layout.begin)),
            read_options=pacsv.ReadOptions(column_names=list(layout.names), use_threads=False),
            parse_options=pacsv.ParseOptions(quote_char=False),
            convert_options=pacsv.ConvertOptions(
                column_types=_TYPES, include_columns=list(KEPT), null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    if not all(_fits(name, table[name]) for name in WHOLE_DIGITS):
        return None
    columns = {name: table[name] for name in KEPT}
    for name in TIMES:
        moments = _in_ms(name, columns[name].to_numpy())
        if moments is None:
            return None
        columns[name] = pa.chunked_array([pa.array(moments)])
    return Sheet(columns, Lines(lambda: text[layout.begin :].split(b"\n")))


def read_patiently(text: bytes, layout: Layout) -> Sheet:
    """Line by line. Blank lines and spaces around values are nothing."""
    taken: list[tuple[Value, ...]] = []
    lines: list[bytes] = []
    refused: list[Refused] = []
    places = [layout.names.index(name) for name in KEPT]
    for line in BytesIO(text[layout.begin :]):
        trimmed = line.strip(_BLANK)
        if not trimmed:
            continue
        texts = [value.strip(" \t") for value in trimmed.decode(errors="replace").split(",")]
        try:
            if len(texts) != len(layout.names):
                raise RowRejected("columns")
            taken.append(tuple(_read(name, texts[place]) for name, place in zip(KEPT, places, strict=True)))
            lines.append(trimmed)
        except RowRejected as why:
            refused.append(Refused(_open_time(texts, places[0]), why.reason, trimmed))
    by_name = zip(*taken, strict=True) if taken else ([] for _ in KEPT)
    columns = {
        name: pa.chunked_array([pa.array(values, _TYPES[name])]) for name, values in zip(KEPT, by_name, strict=True)
    }
    return Sheet(columns, Lines(lines), tuple(refused))


@lru_cache(maxsize=16)
def _ordinary(names: tuple[str, ...]) -> str:
    values = [
        _ORDINARY_IGNORED if name == "ignore" else _ORDINARY_DECIMAL if name in WHOLE_DIGITS else _ORDINARY_INTEGER
        for name in names
    ]
    row = ",".join(values)
    return rf"\A{row}(?:\r?\n{row})*(?:\r?\n)*\z"


def _fits(name: str, column: pa.ChunkedArray) -> bool:
    """Whether Arrow may be believed: it lets a short text such as `1234567890123` through into a (20,8) column."""
    bounds = pc.min_max(column)
    limit = Decimal(10) ** WHOLE_DIGITS[name]
    return bool(-limit < bounds["min"].as_py() and bounds["max"].as_py() < limit)


def _in_ms(name: str, moments: Times) -> Times | None:
    """Times in ms, whichever unit each of them is in; None when one is no moment or would lose something."""
    if moments.min() < 0 or moments.max() >= END_OF_TIME_MS * _MICROS:
        return None
    micros = moments >= END_OF_TIME_MS
    if not micros.any():
        return moments
    below = moments[micros] % _MICROS
    if not ((below == 0) | ((below == _END_OF_MS) & (name == "close_time"))).all():
        return None
    return np.where(micros, moments // _MICROS, moments)


def _read(name: str, text: str) -> Value:
    """A value; a time in microseconds (spot since 2025-01-01, told by its magnitude) becomes ms if that loses nothing.

    A close time of ...999999 is the last microsecond of the bar as ...999 is its last millisecond.
    """
    if name not in TIMES or not _DIGITS.fullmatch(text) or not END_OF_TIME_MS <= int(text) < END_OF_TIME_MS * _MICROS:
        return read_value(name, text)
    whole, below = divmod(int(text), _MICROS)
    if below and (name, below) != ("close_time", _END_OF_MS):
        raise RowRejected("time")
    return whole


def _open_time(texts: Sequence[str], place: int) -> int | None:
    """The open time of a line that is broken elsewhere, for the books."""
    try:
        return int(_read("ts", texts[place]))
    except (RowRejected, IndexError):
        return None
