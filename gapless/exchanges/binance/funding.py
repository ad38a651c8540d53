"""Funding settlements of USD-M perpetuals, from an archive month or from REST, as canonical columns. Pure.

The exchange settles a few milliseconds after the nominal time (up to 19 seen in recordings): `ts` is its time to the
nearest minute, `exchange_ts` its time as sent. The archive says the interval in hours and no mark price, REST the mark
price and no interval. Sources: reference sections 4 and 10.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gapless.domain.datasets import FUNDING_RATE, Dataset
from gapless.domain.schema import PRICE, Source
from gapless.domain.window import Window
from gapless.exchanges.binance.rows import RowRejected
from gapless.exchanges.binance.series_rows import (
    Fields,
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

__all__ = [
    "FundingPage",
    "ParsedRows",
    "nominal_time",
    "parse_funding_zip",
    "read_funding_page",
    "read_funding_page_of_all",
    "settlements",
]

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
    for raw, fields in rows:
        taken = _enter_rest_row(ledger, raw, fields, raw_symbol, asked)
        if taken is not None:
            times.append(taken.sent_ms)
    return times, ledger.read - before


@dataclass(frozen=True, slots=True)
class FundingPage:
    """One answer of `/fapi/v1/fundingRate` without a symbol, read.

    Attributes:
        ledgers: the rows of the symbols that are wanted, by raw symbol; those without any are absent.
        strays: rows of which it cannot be read whose they are, all rejected.
        times: the exchange time (ms) of every row that tells one, wanted or not, in the answer's order.
        symbols: the raw symbols that it has rows of, wanted or not.
        count: how many rows the answer has.
    """

    ledgers: Mapping[str, Ledger]
    strays: Ledger
    times: Sequence[int]
    symbols: frozenset[str]
    count: int


def read_funding_page_of_all(body: str, wanted: Mapping[str, str], asked: Window) -> FundingPage:
    """Read an answer that holds the settlements of all symbols; rows of symbols that are not wanted are passed over.

    Args:
        wanted: unified symbols by raw symbol.
        asked: exchange times that were asked for; a row outside is rejected (`period`).
    """
    ledgers: dict[str, Ledger] = {}
    strays, times, symbols, count = Ledger.of(""), [], set(), 0
    rows = json_rows(body)
    if rows is None:
        strays.read += 1
        strays.reject(None, "json", body)
        return FundingPage(ledgers, strays, (), frozenset(), 0)
    for raw, fields in rows:
        count += 1
        try:
            told = fields()
        except RowRejected as why:
            strays.read += 1
            strays.reject(None, why.reason, raw)
            continue
        raw_symbol, at = told.get("symbol", ""), _sent_or_none(told)
        if at is not None:
            times.append(at)
        if not raw_symbol:
            strays.read += 1
            strays.reject(None if at is None else nominal_time(at), "columns", raw)
            continue
        symbols.add(raw_symbol)
        if raw_symbol in wanted:
            ledger = ledgers.setdefault(raw_symbol, Ledger.of(wanted[raw_symbol]))
            _enter_rest_row(ledger, raw, lambda told=told: told, raw_symbol, asked)  # type: ignore[misc]
    return FundingPage(ledgers, strays, times, frozenset(symbols), count)


def _enter_rest_row(ledger: Ledger, raw: str, fields: Fields, raw_symbol: str, asked: Window) -> Taken | None:
    def read(row: Mapping[str, str], raw: str) -> Taken:
        return _rest_row(row, raw, raw_symbol, asked)

    return ledger.enter(raw, fields, read, _rest_time)


def _sent_or_none(row: Mapping[str, str]) -> int | None:
    try:
        return milliseconds(row.get("fundingTime", ""))
    except RowRejected:
        return None


def _rest_time(row: Mapping[str, str]) -> int:
    return nominal_time(milliseconds(row.get("fundingTime", "")))


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
