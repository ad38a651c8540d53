"""An archive kline ZIP -> canonical bars of its period, sorted, and the rows not taken with their reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.schema import TIMESTAMP, Source
from gapless.exchanges.binance.payloads import KLINES
from gapless.exchanges.binance.rows import TIMES, Rejected
from gapless.exchanges.binance.vision.klines_csv import KEPT, Sheet, UnknownHeader, read, sniff
from gapless.exchanges.binance.vision.member import BrokenFile, read_member
from gapless.exchanges.binance.vision.objects import ArchiveObject

__all__ = ["PARSER_VERSION", "BrokenFile", "ParsedFile", "parse_klines_zip"]

PARSER_VERSION = 1
"""Rises when the same file would be read otherwise than before: what older versions brought is then read again."""

_Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]
_Places = np.ndarray[tuple[int], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says.

    Attributes:
        bars: schema `KLINES`, source VISION, sorted by `ts`, each open time once, inside the object's window. Not held
            against the rules of `gapless.quality` yet; bars may be missing, the checksum proves nothing about that.
        rejected: rows not taken, `raw` the CSV line. Reasons: those of REST rows (`columns`, `type`, `time`,
            `precision`, see `Rejected`); `period` (opens outside the object's window); `conflict` (others have the
            same open time and other values: none of them is taken); `duplicate` (was said before, the same values).
        rows: data rows in the file: bars and rejected together.
    """

    bars: pa.Table
    rejected: list[Rejected]
    rows: int


def parse_klines_zip(data: bytes, obj: ArchiveObject, *, exchange: str, symbol: str) -> ParsedFile:
    """Read a kline file, monthly or daily, of spot or USD-M.

    Columns go by the header's names; a file without a header has the documented order (reference 10.2). Times are ms or
    microseconds, told by magnitude for each of them, and come out as ms. Values are exact or rejected (`precision`).

    Args:
        data: the ZIP.
        symbol: unified notation, written into every bar.

    Raises:
        BrokenFile: nothing of it can be taken; see its reasons.
    """
    text = read_member(data, obj)
    try:
        layout = sniff(text)
    except UnknownHeader as header:
        raise BrokenFile(obj, "header", f"unknown columns {str(header)[:200]}") from None
    sheet = read(text, layout)
    if sheet.rows == 0:
        raise BrokenFile(obj, "empty", "its file has no rows")
    if all(each.reason == "columns" for each in sheet.refused) and len(sheet.refused) == sheet.rows:
        raise BrokenFile(obj, "columns", f"no row has {len(layout.names)} values")
    interval = str(obj.interval)
    rejected = [
        Rejected(symbol, interval, each.ts, each.reason, each.line.decode(errors="replace")) for each in sheet.refused
    ]
    places, dropped = _settle(sheet, obj)
    times = sheet.columns["ts"].to_numpy()
    for reason, rows in dropped.items():
        lines = zip(rows, sheet.lines.at(rows), strict=True)
        rejected += [Rejected(symbol, interval, int(times[at]), reason, line.decode()) for at, line in lines]
    bars = _assemble(sheet, places, (exchange, symbol, interval))
    return ParsedFile(bars, rejected, sheet.rows)


def _settle(sheet: Sheet, obj: ArchiveObject) -> tuple[_Places | None, dict[str, list[int]]]:
    """Which rows are taken, in order of open time (None: all as they stand), and which are not, by reason."""
    times = sheet.columns["ts"].to_numpy()
    window = obj.window
    inside = (times >= window.start_ms) & (times < window.end_ms)
    if inside.all() and (np.diff(times) > 0).all():
        return None, {}
    order = np.flatnonzero(inside)
    order = order[np.argsort(times[order], kind="stable")]
    conflict, duplicate = _repeated(times[order], [sheet.columns[name] for name in KEPT], order)
    dropped = {
        "period": np.flatnonzero(~inside).tolist(),
        "conflict": sorted(order[conflict].tolist()),
        "duplicate": sorted(order[duplicate].tolist()),
    }
    return order[~(conflict | duplicate)], dropped


def _repeated(
    times: np.ndarray[tuple[int], np.dtype[np.int64]], columns: Iterable[pa.ChunkedArray], order: _Places
) -> tuple[_Flags, _Flags]:
    """Of rows in order of open time: those that contradict another of the same time, and those that repeat one."""
    nothing = np.zeros(len(times), np.bool_)
    again = nothing.copy()
    again[1:] = times[1:] == times[:-1]
    if not again.any():
        return nothing, nothing
    differs = nothing.copy()
    for column in columns:
        values = column.take(pa.array(order)).combine_chunks()
        differs[1:] |= pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    group = np.cumsum(~again)
    conflict = np.isin(group, group[again & differs])
    return conflict, again & ~conflict


def _assemble(sheet: Sheet, places: _Places | None, series: Sequence[str]) -> pa.Table:
    """The canonical table of one series; times as timestamps."""
    values = pa.table({name: sheet.columns[name] for name in KEPT})
    if places is not None:
        values = values.take(pa.array(places))
    by_name = {name: values[name].cast(TIMESTAMP) if name in TIMES else values[name] for name in KEPT}
    for name, text in zip(("exchange", "symbol", "interval"), series, strict=True):
        by_name[name] = pa.repeat(pa.scalar(text, pa.string()), values.num_rows)
    by_name["source"] = pa.repeat(pa.scalar(int(Source.VISION), pa.uint8()), values.num_rows)
    return pa.Table.from_arrays([by_name[name] for name in KLINES.names], schema=KLINES)
