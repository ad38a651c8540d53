"""The manifest: what became of each object of the exchange's archive, so that none is fetched twice for nothing."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select, update

from gapless.domain.instrument import Market
from gapless.domain.schema import TIMESTAMP
from gapless.domain.window import DAY_MS, Window, from_ms, month_start
from gapless.storage.mysql.books import archive_object, moment
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.pages import pages_of
from gapless.storage.mysql.refused import clean_text
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

LOADED = "loaded"
_DETAIL_BYTES = 60_000
_PIECE = 1_000


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """An object of the archive as it was when last looked at. Times in ms, UTC.

    Attributes:
        path: below the archive's root, unquoted; names the object.
        interval: empty where the dataset has none.
        period: `day` or `month`; period_start_ms its first moment.
        state: `loaded`, or `rejected` (detail says why).
        checksum: `verified`, `mismatch` or `absent`.
        sha256: of the bytes that were read, hex.
        rows, refused: sound rows, and rows that went to quarantine.
        first_ms, last_ms: labels of the first and last sound row.
        store: `mysql` or `lake`, where the rows went; empty where nowhere.
        checked_ms: when the archive was last asked whether this is still the object; loaded_ms: when its rows were
            stored.
    """

    path: str
    dataset: str
    exchange: str
    market: Market
    symbol: str
    raw_symbol: str
    interval: str
    period: str
    period_start_ms: int
    state: str
    checksum: str
    etag: str
    bytes: int
    sha256: str
    rows: int
    refused: int
    first_ms: int | None
    last_ms: int | None
    parser_version: int
    detail: str
    store: str
    checked_ms: int
    loaded_ms: int | None


_NAMES = tuple(ManifestRow.__dataclass_fields__)
_MARKET = _NAMES.index("market")
# Texts that thousands of rows share are one object each: half a million rows would weigh three times as much.
_SHARED = [_NAMES.index(name) for name in (*_NAMES[1:8], "state", "checksum", "detail", "store")]
_MARKETS = {str(market): market for market in Market}
# Attribute, column, type.
_COLUMNS: tuple[tuple[str, str, pa.DataType], ...] = (
    *((name, name, pa.string()) for name in ("path", "dataset", "exchange", "market", "symbol", "raw_symbol")),
    *((name, name, pa.string()) for name in ("interval", "period", "state", "checksum", "etag", "sha256", "store")),
    *((name, name, pa.int64()) for name in ("bytes", "rows", "refused", "parser_version")),
    ("first_ms", "first_ts", TIMESTAMP),
    ("last_ms", "last_ts", TIMESTAMP),
    ("checked_ms", "checked_at", TIMESTAMP),
    ("loaded_ms", "loaded_at", TIMESTAMP),
)


def put_manifest(db: MySql, rows: Sequence[ManifestRow]) -> None:
    """Enter objects, or what is new of them: all in one transaction; the last of several of one path counts.

    Raises:
        StorageError: a value does not fit its column, or the server did not take them for as long as retries last.
    """
    last = sorted({row.path: row for row in rows}.values(), key=lambda row: row.path)
    if not last:
        return
    what = f"entering {len(last)} objects of the archive, the first {last[0].path}"
    columns = {column: pa.array([getattr(row, name) for row in last], kind) for name, column, kind in _COLUMNS}
    columns["period_start"] = pa.array([_day(row.period_start_ms) for row in last], pa.date32())
    columns["detail"] = pa.array([clean_text(row.detail, _DETAIL_BYTES) for row in last], pa.string())
    table = pa.table(columns)
    db.run(what, lambda connection: replace_rows(connection, archive_object.name, table, {}, what))


def read_manifest(
    db: MySql,
    dataset: str,
    exchange: str,
    market: Market,
    window: Window,
    symbols: Collection[str] | None = None,
) -> dict[str, ManifestRow]:
    """The objects on record whose period meets the window, by path; of some symbols, or of all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    if symbols is not None and not symbols:
        return {}
    arguments = {
        "dataset": str(dataset),
        "exchange": exchange,
        "market": str(market),
        "month": _day(month_start(window.start_ms)),
        "day": moment(window.start_ms - DAY_MS),
        "end": moment(window.end_ms),
        "symbols": tuple(sorted(symbols or ())),
    }
    statement = query("archive_objects") + ("" if symbols is None else " AND symbol IN %(symbols)s")

    def read(connection: Connection) -> dict[str, ManifestRow]:
        return {line[0]: _row(line) for page in pages_of(connection, statement, arguments) for line in page}

    return db.run(f"reading the manifest of {exchange} {market} {dataset} {window}", read)


def loaded_since(db: MySql, paths: Collection[str]) -> frozenset[str]:
    """Those of the paths whose object, as last looked at, was loaded.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_object.c
    statement = select(table.path).where(table.path.in_(sorted(paths)), table.state == LOADED)
    if not paths:
        return frozenset()
    what = f"reading what became of {len(paths)} objects of the archive"
    return frozenset(db.run(what, lambda connection: connection.scalars(statement).all()))


def touch_manifest(db: MySql, paths: Collection[str], checked_ms: int) -> None:
    """Note that these objects were found unchanged at that moment; paths that are not on record are passed over.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    ordered = sorted(set(paths))
    table = archive_object.c

    def touch(connection: Connection) -> None:
        for at in range(0, len(ordered), _PIECE):
            piece = ordered[at : at + _PIECE]
            connection.execute(
                update(archive_object).where(table.path.in_(piece)).values(checked_at=moment(checked_ms))
            )

    if ordered:
        db.run(f"noting that {len(ordered)} objects of the archive are unchanged", touch)


def _row(line: Sequence[Any]) -> ManifestRow:
    values = list(line)
    for place in _SHARED:
        values[place] = sys.intern(values[place])
    values[_MARKET] = _MARKETS[values[_MARKET]]
    return ManifestRow(*values)


def _day(at_ms: int) -> date:
    return from_ms(at_ms).date()
