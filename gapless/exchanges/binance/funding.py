"""Funding settlements of USD-M perpetuals, from an archive month or from REST, as canonical columns. Pure.

The exchange settles a few milliseconds after the nominal time (up to 19 seen in recordings): `ts` is its time to the
nearest minute, `exchange_ts` its time as sent. The archive says the interval in hours and no mark price, REST the mark
price and no interval. Sources: reference sections 4 and 10.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from gapless.domain.datasets import FUNDING_RATE, Dataset
from gapless.domain.schema import PRICE, Source
from gapless.domain.window import Window
from gapless.exchanges.binance.rows import RowRejected
from gapless.exchanges.binance.series_rows import (
    Ledger,
    ParsedRows,
    Taken,
    csv_rows,
    exact,
    json_rows,
    milliseconds,
    required,
    table,
    whole,
)
from gapless.exchanges.binance.vision.member import read_member
from gapless.exchanges.binance.vision.objects import ArchiveObject

__all__ = ["ParsedRows", "nominal_time", "parse_funding_zip", "read_funding_page", "settlements"]

ARCHIVE_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")
REGULAR = "Regular"
"""The rate type of the archive, and of REST rows from before rows had one (2026-07-28)."""

_MINUTE_MS = 60_000
_LONGEST_HOURS = 255


def nominal_time(exchange_ms: int) -> int:
    """The settlement's time: the exchange's own to the nearest minute, ms."""
    return (exchange_ms + _MINUTE_MS // 2) // _MINUTE_MS * _MINUTE_MS


def parse_funding_zip(data: bytes, obj: ArchiveObject, *, exchange: str, symbol: str) -> ParsedRows:
    """Read an archive month of funding (`SYM-fundingRate-YYYY-MM.zip`).

    Columns go by the header's names. A file without a header is read in the documented order: time, hours and rate
    cannot be taken for one another, a row whose values do not fit their columns is rejected.

    Args:
        symbol: unified notation, written into every row.

    Raises:
        BrokenFile: nothing of it can be taken.
    """
    ledger = Ledger.of(symbol)

    def read(row: Mapping[str, str], raw: str) -> Taken:
        return _archive_row(row, raw, obj.window)

    def time(row: Mapping[str, str]) -> int:
        return nominal_time(milliseconds(row["calc_time"]))

    for raw, fields in csv_rows(read_member(data, obj), obj, ARCHIVE_COLUMNS, headless=True):
        ledger.enter(raw, fields, read, time)
    return settlements(ledger, exchange, Source.VISION)


def _archive_row(row: Mapping[str, str], raw: str, window: Window) -> Taken:
    at = milliseconds(row["calc_time"])
    text = row["funding_interval_hours"].strip()
    hours = whole(text, 1, _LONGEST_HOURS, "precision") if text else None
    rate = required(row["last_funding_rate"], FUNDING_RATE)
    ts = nominal_time(at)
    if ts not in window:
        raise RowRejected("period")
    return Taken(REGULAR, ts, (at, rate, hours, None), raw, at)


def read_funding_page(body: str, ledger: Ledger, raw_symbol: str, asked: Window) -> tuple[list[int], int]:
    """Enter the rows of one answer of `/fapi/v1/fundingRate` into the ledger.

    Args:
        asked: exchange times that were asked for; a row outside is rejected (`period`).

    Returns:
        The exchange times of the rows taken, in ms, and how many rows the answer has.
    """
    rows = json_rows(body)
    if rows is None:
        ledger.read += 1
        ledger.reject(None, "json", body)
        return [], 0
    before, times = ledger.read, []

    def read(row: Mapping[str, str], raw: str) -> Taken:
        return _rest_row(row, raw, raw_symbol, asked)

    def time(row: Mapping[str, str]) -> int:
        return nominal_time(milliseconds(row.get("fundingTime", "")))

    for raw, fields in rows:
        taken = ledger.enter(raw, fields, read, time)
        if taken is not None:
            times.append(taken.sent_ms)
    return times, ledger.read - before


def _rest_row(row: Mapping[str, str], raw: str, raw_symbol: str, asked: Window) -> Taken:
    if not {"symbol", "fundingTime", "fundingRate"} <= row.keys():
        raise RowRejected("columns")
    if row["symbol"] != raw_symbol:
        raise RowRejected("symbol")
    at = milliseconds(row["fundingTime"])
    rate = required(row["fundingRate"], FUNDING_RATE)
    mark = exact(row.get("markPrice", ""), PRICE)
    if at not in asked:
        raise RowRejected("period")
    return Taken(row.get("rateType", "") or REGULAR, nominal_time(at), (at, rate, None, mark), raw, at)


def settlements(ledger: Ledger, exchange: str, source: Source, window: Window | None = None) -> ParsedRows:
    """The ledger's rows as canonical columns; with a window, those whose nominal time lies in it."""
    rows: Sequence[Taken] = [row for row in ledger.settle() if window is None or row.ts in window]
    columns = list(zip(*(row.values for row in rows), strict=True)) or [()] * 4
    named = zip(("exchange_ts", "rate", "interval_hours", "mark_price"), columns, strict=True)
    made: pa.Table = table(
        Dataset.FUNDING,
        exchange,
        ledger.symbol,
        source,
        [("rate_type", [row.label for row in rows]), ("ts", [row.ts for row in rows]), *named],
    )
    return ParsedRows(made, ledger.rejected, ledger.read)
