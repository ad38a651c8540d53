"""Open interest and ratios of USD-M perpetuals by five minutes, from an archive day or from REST. Pure.

`ts` is the start of the five minutes. The sources label them otherwise (reference 4 and 10.2): the archive by their end
before 2026-06-25 and by their start from then on; REST by their end, but taker volumes by their start. What the columns
mean goes by their names: `count_toptrader_long_short_ratio` counts accounts, `sum_toptrader_long_short_ratio` sums
positions, and readers that went by position have swapped the two.

Two readings of a file with one result: the fast one takes an ordinary file whole through Arrow, any other is read row
by row. The fast one accepts only what the patient one accepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gapless.domain.datasets import OPEN_INTEREST, RATIO, SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.schema import Source
from gapless.domain.window import Window, parse_time
from gapless.exchanges.binance.rows import RowRejected
from gapless.exchanges.binance.series_rows import (
    Ledger,
    ParsedRows,
    Taken,
    Value,
    clock_time,
    csv_rows,
    exact,
    json_rows,
    milliseconds,
    table,
)
from gapless.exchanges.binance.vision.member import read_member
from gapless.exchanges.binance.vision.objects import ArchiveObject

__all__ = ["ENDPOINTS", "STEP_MS", "ParsedRows", "end_labelled", "join", "parse_metrics_zip", "read_points"]

STEP_MS = Interval.M5.ms
SWITCH_MS = parse_time("2026-06-25")
"""The first day whose archive file labels the five minutes by their start (binance-public-data issue 491)."""

ARCHIVE_COLUMNS = {
    "create_time": "ts",
    "symbol": "symbol",
    "sum_open_interest": "open_interest",
    "sum_open_interest_value": "open_interest_value",
    "count_toptrader_long_short_ratio": "top_account_ratio",
    "sum_toptrader_long_short_ratio": "top_position_ratio",
    "count_long_short_ratio": "global_account_ratio",
    "sum_taker_long_short_vol_ratio": "taker_buy_sell_ratio",
}
"""The archive's columns in their documented order, and what they are here."""

ENDPOINTS: dict[str, dict[str, str]] = {
    "openInterestHist": {"sumOpenInterest": "open_interest", "sumOpenInterestValue": "open_interest_value"},
    "topLongShortAccountRatio": {"longShortRatio": "top_account_ratio"},
    "topLongShortPositionRatio": {"longShortRatio": "top_position_ratio"},
    "globalLongShortAccountRatio": {"longShortRatio": "global_account_ratio"},
    "takerlongshortRatio": {"buySellRatio": "taker_buy_sell_ratio"},
}
"""The endpoints below `/futures/data/`, and which of their values are kept, as what."""

VALUES = SHAPES[Dataset.METRICS].values
_KINDS = {name: OPEN_INTEREST if name.startswith("open_interest") else RATIO for name in VALUES}
_FROM_ARCHIVE = {ours: theirs for theirs, ours in ARCHIVE_COLUMNS.items()}
_OFF_GRID_MS = 60_000
_HEADER = ",".join(ARCHIVE_COLUMNS).encode()


def end_labelled(endpoint: str) -> bool:
    """Whether the endpoint's timestamps are ends of the five minutes (documented 2026-08; taker volumes: starts)."""
    return endpoint != "takerlongshortRatio"


def on_grid(at_ms: int) -> int:
    """The nearest five minutes; the archive has labels such as 12:05:01.

    Raises:
        RowRejected: `grid`, when it is a minute or more away.
    """
    nearest = (at_ms + STEP_MS // 2) // STEP_MS * STEP_MS
    if abs(at_ms - nearest) >= _OFF_GRID_MS:
        raise RowRejected("grid")
    return nearest


def labels_are_ends(labels: frozenset[int], day: Window) -> bool:
    """Whether a day's file labels the five minutes by their ends, told by the file itself where it can be.

    A file that covers a day by starts has its own midnight and never the next; by ends the next and never its own.
    With one of the two, the file has said it, whatever its date: files are replaced years later. With neither (rows
    are missing) or both (a stray row), its date says it.
    """
    own, following = day.start_ms in labels, day.end_ms in labels
    return following if own != following else day.start_ms < SWITCH_MS


def parse_metrics_zip(data: bytes, obj: ArchiveObject, *, exchange: str, symbol: str) -> ParsedRows:
    """Read an archive day of metrics (`SYM-metrics-YYYY-MM-DD.zip`).

    Args:
        symbol: unified notation, written into every row.

    Raises:
        BrokenFile: nothing of it can be taken. A file without a header is one: its columns could not be told apart.
    """
    text = read_member(data, obj)
    fast = _fast(text, obj, exchange, symbol)
    return _patient(text, obj, exchange, symbol) if fast is None else fast


def _patient(text: bytes, obj: ArchiveObject, exchange: str, symbol: str) -> ParsedRows:
    rows = list(csv_rows(text, obj, tuple(ARCHIVE_COLUMNS), headless=False))
    labels: set[int] = set()
    for _, fields in rows:
        try:
            labels.add(_label(fields()))
        except RowRejected:
            continue
    shift = STEP_MS if labels_are_ends(frozenset(labels), obj.window) else 0
    ledger = Ledger.of(symbol)

    def read(row: Mapping[str, str], raw: str) -> Taken:
        label = _label(row)
        if row["symbol"].strip() != obj.raw_symbol:
            raise RowRejected("symbol")
        values = tuple(exact(row[_FROM_ARCHIVE[name]], _KINDS[name]) for name in VALUES)
        return _checked(Taken("", label - shift, values, raw, label), obj.window)

    for raw, fields in rows:
        ledger.enter(raw, fields, read, lambda row: _label(row) - shift)
    settled = ledger.settle()
    columns = list(zip(*(row.values for row in settled), strict=True)) or [()] * len(VALUES)
    named = zip(VALUES, columns, strict=True)
    made = table(Dataset.METRICS, exchange, symbol, Source.VISION, [("ts", [row.ts for row in settled]), *named])
    return ParsedRows(made, ledger.rejected, ledger.read)


def _label(row: Mapping[str, str]) -> int:
    return on_grid(clock_time(row["create_time"]))


def _checked(row: Taken, window: Window) -> Taken:
    if row.ts not in window:
        raise RowRejected("period")
    if all(value is None for value in row.values):
        raise RowRejected("blank")
    return row


def _fast(text: bytes, obj: ArchiveObject, exchange: str, symbol: str) -> ParsedRows | None:
    """The rows of an ordinary file; None when anything about it asks for the patient reading."""
    header, _, body = text.partition(b"\n")
    if header.removesuffix(b"\r") != _HEADER or not _plain(body, obj.raw_symbol.encode()):
        return None
    try:
        columns = pacsv.read_csv(
            pa.BufferReader(body),
            read_options=pacsv.ReadOptions(
                column_names=list(ARCHIVE_COLUMNS.values()), use_threads=False, block_size=len(body) + 1
            ),
            parse_options=pacsv.ParseOptions(quote_char=False),
            convert_options=pacsv.ConvertOptions(
                column_types={"ts": pa.timestamp("s"), "symbol": pa.string(), **_KINDS},
                null_values=[""],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    times = columns["ts"]
    if times.null_count or not pc.all(pc.equal(columns["symbol"], obj.raw_symbol)).as_py():
        return None
    if not all(_fits(columns[name]) for name in VALUES) or _any_blank_row(columns):
        return None
    moments = times.cast(pa.int64()).to_numpy() * 1000
    labels = (moments + STEP_MS // 2) // STEP_MS * STEP_MS
    if (np.abs(moments - labels) >= _OFF_GRID_MS).any():
        return None
    starts = labels - (STEP_MS if labels_are_ends(frozenset(labels.tolist()), obj.window) else 0)
    if starts.min() < obj.window.start_ms or starts.max() >= obj.window.end_ms:
        return None
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    if (np.diff(starts) == 0).any():
        return None
    taken = columns.take(pa.array(order)) if (np.diff(order) < 0).any() else columns
    named = [("ts", pa.array(starts)), *((name, taken[name]) for name in VALUES)]
    return ParsedRows(table(Dataset.METRICS, exchange, symbol, Source.VISION, named), [], len(starts))


_NUMERIC = b"0123456789.,-: \r\n"
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")


def _plain(body: bytes, raw_symbol: bytes) -> bool:
    """Whether nothing but plain numbers, times and the symbol stand in the lines, and no number is overlong.

    Exponents, quotes and the like are left to the patient reading. So are long numbers: Arrow 26 gives a number of 25
    digits its fourteen places without a look at the 128 bits, and another number comes out
    (994156040704272915605444682 as 531529295132602292390828.29...).
    """
    count = body.count(b"\n") + (not body.endswith(b"\n"))
    if body.translate(None, _NUMERIC) != raw_symbol.translate(None, _NUMERIC) * count:
        return False
    return b"0" * (OPEN_INTEREST.precision - OPEN_INTEREST.scale + 1) not in body.translate(_ALL_DIGITS_ZERO)


def _fits(column: pa.ChunkedArray) -> bool:
    """Whether Arrow may be believed: it counts a number's digits before it adds the places of the column."""
    bounds = pc.min_max(column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    limit = Decimal(10) ** (column.type.precision - column.type.scale)
    return low is None or (-limit < low and high < limit)


def _any_blank_row(columns: pa.Table) -> bool:
    if any(columns[name].null_count == 0 for name in VALUES):
        return False
    blank = np.logical_and.reduce([columns[name].is_null().to_numpy(zero_copy_only=False) for name in VALUES])
    return bool(blank.any())


def read_points(body: str, ledger: Ledger, endpoint: str, raw_symbol: str, window: Window) -> None:
    """Enter the points of one answer of a `/futures/data/` endpoint, period 5m, into the ledger.

    Args:
        window: starts of the five minutes that were asked for; a point outside is rejected (`period`).
    """
    rows = json_rows(body)
    if rows is None:
        ledger.read += 1
        ledger.reject(None, "json", body)
        return
    kept = ENDPOINTS[endpoint]
    shift = STEP_MS if end_labelled(endpoint) else 0

    def start(row: Mapping[str, str]) -> int:
        return on_grid(milliseconds(row.get("timestamp", ""))) - shift

    def read(row: Mapping[str, str], raw: str) -> Taken:
        if not {"timestamp", *kept} <= row.keys():
            raise RowRejected("columns")
        ts = start(row)
        if row.get("symbol", raw_symbol) != raw_symbol:  # taker volumes name no symbol
            raise RowRejected("symbol")
        values = tuple(exact(row[theirs], _KINDS[ours]) for theirs, ours in kept.items())
        return _checked(Taken("", ts, values, raw, ts + shift), window)

    for raw, fields in rows:
        ledger.enter(raw, fields, read, start)


def join(ledgers: Mapping[str, Ledger], exchange: str, symbol: str) -> ParsedRows:
    """The points of the endpoints as rows, one for each five minutes that any of them has; the others' values null."""
    rows: dict[int, dict[str, Value]] = {}
    for endpoint, ledger in ledgers.items():
        for point in ledger.settle():
            rows.setdefault(point.ts, {}).update(zip(ENDPOINTS[endpoint].values(), point.values, strict=True))
    starts: Sequence[int] = sorted(rows)
    columns = [(name, [rows[ts].get(name) for ts in starts]) for name in VALUES]
    made = table(Dataset.METRICS, exchange, symbol, Source.REST, [("ts", starts), *columns])
    rejected = [each for ledger in ledgers.values() for each in ledger.rejected]
    return ParsedRows(made, rejected, sum(ledger.read for ledger in ledgers.values()))
