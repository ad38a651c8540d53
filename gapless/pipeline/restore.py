"""A month that left MySQL, back from the lake into its table, proved: for a re-computation, or after a lost server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Batch, Failure
from gapless.domain.totals import SeriesKey, SeriesTotals, disagreeing
from gapless.domain.window import DAY_MS, Window, iso
from gapless.errors import NotFound, StorageError, ValidationError
from gapless.pipeline.export.leave import is_out
from gapless.pipeline.export.run import exclusively
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.compare import compare
from gapless.storage.lake import layout
from gapless.storage.lake.layout import Form
from gapless.storage.lake.totals import MonthContents
from gapless.storage.mysql import Draft, Scope, load_rows
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.exports import RESTORED, MonthExport, newest_export, put_export
from gapless.storage.mysql.leaving import Leaving
from gapless.storage.mysql.partitions import Month

HOLD_DAYS = 7
_PIECE_ROWS = 200_000
"""About how many rows are loaded at once."""


class RestoreReport(msgspec.Struct, frozen=True):
    """What became of one month of one table.

    Attributes:
        rows, series, files, bytes: of the month in the lake, as it was read back.
        held: how many rows of the month MySQL had before.
        loaded: rows that MySQL lacked and has now. unchanged: rows of the lake whose key MySQL held already.
        differing: rows that both hold with other values: MySQL's stay, and count. beside: rows that MySQL alone holds.
        verified: MySQL was read and has every row of the lake. Always false of a dry run.
        hold_until: until when the monthly export leaves the month where it is; empty of a dry run.
    """

    dataset: str
    month: str
    rows: int
    series: int
    files: int
    bytes: int
    held: int
    loaded: int = 0
    unchanged: int = 0
    differing: int = 0
    beside: int = 0
    verified: bool = False
    hold_until: str = ""
    seconds: float = 0.0
    errors: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is read and loaded at once: symbols of one market in one window of a month of the lake."""

    month: layout.Month
    market: Market
    symbols: tuple[str, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class _Settled:
    """What the two stores say of one another; `lacking` is of series of which MySQL has not every row."""

    differing: int
    beside: int
    lacking: dict[SeriesKey, int]


def restore_month(
    rt: Runtime,
    dataset: Dataset,
    month: Month,
    *,
    hold_days: float = HOLD_DAYS,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RestoreReport:
    """Load what the lake holds of a month and MySQL lacks, and prove that MySQL has it all; blocking.

    The lake's objects are read back first: nothing is loaded of a month with a damaged one. What readers see does not
    change: a row that MySQL holds stays as it is. The hold stands in `month_export` before the first row is loaded.
    Killed anywhere and done again, it loads what is left. Any month may be restored: a hot one too, after its rows were
    lost. Memory: a few hundred thousand rows, whatever the month's size.

    Args:
        hold_days: how long the monthly export leaves the month alone. By hand it can be exported at once.
        on_progress: told how many rows are loaded or found, of how many.

    Raises:
        NotFound: the lake holds nothing of the month.
        Damaged: an object of the lake cannot be trusted, `uri` says which.
        StorageError: a store is away, or the month is on its way out of MySQL.
    """
    began = time.monotonic()
    with exclusively(rt, dataset, month):
        if is_out(rt, Leaving(dataset, month)):
            raise StorageError(
                f"{dataset} {month} is on its way out of MySQL: finish that first "
                f"(gapless export-month {month} --table {dataset} --drop), then restore it"
            )
        contents = _read_back(rt, dataset, month)
        totals = {key: of for each in contents for key, of in each.totals.items()}
        report = RestoreReport(
            dataset=str(dataset),
            month=str(month),
            rows=sum(each.rows for each in contents),
            series=len(totals),
            files=sum(len(each.objects) for each in contents),
            bytes=sum(each.bytes for each in contents),
            held=_held(rt, dataset, month),
        )
        if dry_run:
            return report
        entry = _hold(rt, report, dataset, month, hold_days)
        loaded, unchanged = _load(rt, contents, on_progress)
        settled = _prove(rt, dataset, month, totals)
        verified = not settled.lacking
        if verified:
            put_export(rt.db, replace(entry, verified_ms=_now_ms()))
        return msgspec.structs.replace(
            report,
            loaded=loaded,
            unchanged=unchanged,
            differing=settled.differing,
            beside=settled.beside,
            verified=verified,
            hold_until=iso(entry.hold_until_ms or 0),
            seconds=round(time.monotonic() - began, 3),
            errors=tuple(_lacking(month, key, rows) for key, rows in settled.lacking.items()),
        )


def _read_back(rt: Runtime, dataset: Dataset, month: Month) -> list[MonthContents]:
    intervals: Sequence[Interval | None] = ALL_INTERVALS if dataset is Dataset.OHLCV else (None,)
    months = [layout.Month(dataset, EXCHANGE, interval, month.start_ms) for interval in intervals]
    contents = [found for each in months if (found := rt.lake.read_back(each)).rows]
    if not contents:
        raise NotFound(
            f"the lake at {rt.lake.store.root_uri} holds no {dataset} of {month}: there is nothing to restore. "
            "`gapless coverage` shows what is stored, `gapless backfill` loads a month from the exchange"
        )
    return contents


def _held(rt: Runtime, dataset: Dataset, month: Month) -> int:
    with MonthRows.open(rt.db, dataset, month) as rows:
        return sum(rows.series().values())


def _hold(rt: Runtime, report: RestoreReport, dataset: Dataset, month: Month, hold_days: float) -> MonthExport:
    """Enter the restore before it begins, so that no export takes away what is just being loaded."""
    last, now_ms = newest_export(rt.db, dataset, month), _now_ms()
    again = last is not None and last.state == RESTORED
    entry = MonthExport(
        dataset=dataset,
        month=month,
        round=1 if last is None else last.round + (not again),
        state=RESTORED,
        begun_ms=last.begun_ms if last is not None and again else now_ms,
        rows=report.rows,
        series=report.series,
        bytes=report.bytes,
        files=report.files,
        hold_until_ms=now_ms + round(hold_days * DAY_MS),
    )
    put_export(rt.db, entry)
    return entry


def _load(rt: Runtime, contents: Sequence[MonthContents], on_progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Piece after piece, the next one being read meanwhile; how many rows were loaded, and how many were there."""
    total = sum(each.rows for each in contents)
    loaded = unchanged = 0
    with ThreadPoolExecutor(1, "read") as reader:
        ahead: tuple[_Piece, Future[pa.Table]] | None = None
        for piece in [*(piece for each in contents for piece in _pieces(each)), None]:
            coming = None if piece is None else (piece, reader.submit(_rows_of, rt, piece))
            if ahead is not None:
                rows = ahead[1].result()
                if rows.num_rows:
                    counts = load_rows(
                        rt.db, SHAPES[ahead[0].month.dataset], rows, _draft(ahead[0], rows), only_lacking=True
                    ).counts
                    loaded, unchanged = loaded + counts.loaded, unchanged + counts.unchanged
                    on_progress(loaded + unchanged, total)
            ahead = coming
    return loaded, unchanged


def _pieces(contents: MonthContents) -> Iterator[_Piece]:
    """A month cut so that each object of the lake is read few times: by its days, or by symbols that lie together."""
    month = contents.month
    targets = [target for fact in contents.objects if (target := layout.parse_key(fact.key)) is not None]
    by_day = [target.window for target in targets if target.form is Form.DAYS]
    in_buckets = any(target.form is Form.BUCKETS for target in targets)
    rows = {symbol: 0 for _, symbol, _ in contents.totals}
    for (_, symbol, _), of in contents.totals.items():
        rows[symbol] += -(-of.rows // max(1, len(by_day)))
    ordered = sorted(rows, key=lambda name: (_market(name), layout.bucket_of(name) if in_buckets else 0, name))
    for window in by_day or [month.window]:
        for market, names in groupby(ordered, key=_market):
            for symbols in _bunches(list(names), rows):
                yield _Piece(month, market, symbols, window)


def _bunches(symbols: Sequence[str], rows: dict[str, int]) -> Iterator[tuple[str, ...]]:
    bunch: list[str] = []
    size = 0
    for symbol in symbols:
        if bunch and size + rows[symbol] > _PIECE_ROWS:
            yield tuple(bunch)
            bunch, size = [], 0
        bunch.append(symbol)
        size += rows[symbol]
    if bunch:
        yield tuple(bunch)


def _market(symbol: str) -> Market:
    market = market_of(symbol)
    if market is None:
        raise ValidationError(f"{symbol!r} in the lake is no unified symbol: no market can be told")
    return market


def _rows_of(rt: Runtime, piece: _Piece) -> pa.Table:
    month = piece.month
    if month.interval is None:
        return rt.lake.read_rows(month.dataset, piece.window, piece.symbols, exchange=month.exchange)
    return rt.lake.read(piece.window, symbols=piece.symbols, intervals=[month.interval], exchange=month.exchange)


def _draft(piece: _Piece, rows: pa.Table) -> Draft:
    month = piece.month
    batch = Batch(
        exchange=month.exchange,
        market=piece.market,
        symbols=tuple((symbol, "") for symbol in piece.symbols),  # nothing is asked by the exchange's own names
        intervals=() if month.interval is None else (month.interval,),
        start_ms=piece.window.start_ms,
        end_ms=piece.window.end_ms,
        dataset=f"restore:{month.dataset}",
    )
    return Draft(
        batch_key=batch.key,
        exchange=month.exchange,
        market=piece.market,
        window=piece.window,
        scope=Scope.of((symbol, str(month.interval)) for symbol in piece.symbols if month.interval is not None),
        complete=False,  # it brings what the lake has, which need not be all that the exchange has
        digest=digests(rows, SHAPES[month.dataset])[0],
        dataset=batch.dataset,
    )


def _prove(rt: Runtime, dataset: Dataset, month: Month, lake: dict[SeriesKey, SeriesTotals]) -> _Settled:
    """Hold the server's own sums against the lake's; a series that differs is compared row by row."""
    differing = beside = 0
    lacking: dict[SeriesKey, int] = {}
    with MonthRows.open(rt.db, dataset, month) as rows:
        held = rows.totals()
        beside += sum(of.rows for key, of in held.items() if key not in lake)
        for key in disagreeing(lake, held):
            ours, theirs = _both(rt, rows, dataset, month, key)
            found = compare(SHAPES[dataset], ours, theirs)
            differing += len(set(found.different.tolist()) | set(found.told.tolist()))
            beside += len(found.extra)
            if len(found.missing):
                lacking[key] = len(found.missing)
    return _Settled(differing, beside, lacking)


def _both(rt: Runtime, rows: MonthRows, dataset: Dataset, month: Month, key: SeriesKey) -> tuple[pa.Table, pa.Table]:
    """A series in MySQL and in the lake."""
    exchange, symbol, label = key
    shape, interval = SHAPES[dataset], Interval(label) if dataset is Dataset.OHLCV else None
    pieces = rows.pieces(exchange, [symbol], interval, month.window)
    ours = pa.concat_tables([shape.schema.empty_table(), *pieces])
    theirs = _rows_of(rt, _Piece(_lake_month(dataset, interval, month), _market(symbol), (symbol,), month.window))
    if shape.label and interval is None:
        ours, theirs = (table.filter(pc.equal(table[shape.label], label)) for table in (ours, theirs))
    return ours, theirs


def _lake_month(dataset: Dataset, interval: Interval | None, month: Month) -> layout.Month:
    return layout.Month(dataset, EXCHANGE, interval, month.start_ms)


def _lacking(month: Month, key: SeriesKey, rows: int) -> Failure:
    _, symbol, label = key
    message = f"MySQL lacks {rows} rows that the lake holds, after they were loaded: run it again"
    return Failure(symbol, label, str(month.window), "incomplete", message)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
