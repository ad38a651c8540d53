"""Receipts of loads: what each brought, and which windows of which series are done."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import Connection, and_, select
from sqlalchemy.dialects.mysql import insert

from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.retention import LoadState
from gapless.domain.window import Window
from gapless.storage.mysql.books import load_receipt, load_scope, moment, ms_of, stable_id
from gapless.storage.mysql.server import MySql


@dataclass(frozen=True, slots=True)
class Scope:
    """The series that a receipt covers: only those that were taken whole.

    Attributes:
        groups: sets of symbols that share a set of intervals, as `(intervals, symbols)`, each sorted, in order. The one
            interval of datasets that have none (funding, metrics) is empty.
    """

    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @classmethod
    def of(cls, series: Iterable[tuple[str, Interval | str]]) -> Scope:
        """From pairs of symbol and interval.

        Raises:
            ValueError: an interval is none of the six, nor empty.
        """
        by_symbol: dict[str, set[str]] = defaultdict(set)
        for symbol, interval in series:
            by_symbol[symbol].add(Interval(interval) if interval else "")
        by_intervals: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for symbol in sorted(by_symbol):
            by_intervals[tuple(each for each in ("", *ALL_INTERVALS) if each in by_symbol[symbol])].append(symbol)
        return cls(tuple(sorted((intervals, tuple(symbols)) for intervals, symbols in by_intervals.items())))

    @classmethod
    def product(cls, symbols: Iterable[str], intervals: Iterable[Interval | str]) -> Scope:
        """Every symbol in every interval."""
        wanted = tuple(intervals)
        return cls.of((symbol, interval) for symbol in symbols for interval in wanted)

    @property
    def series(self) -> frozenset[tuple[str, str]]:
        return frozenset((s, i) for intervals, symbols in self.groups for s in symbols for i in intervals)

    @property
    def key(self) -> str:
        """sha256 (hex) of what it covers."""
        return sha256(json.dumps(self.groups, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a load says of itself, for its receipt.

    Attributes:
        batch_key: 16 hex digits that name the piece of work (`gapless.domain.receipts.Batch.key`).
        scope: the series it brings, failed ones left out.
        complete: whether the whole window was over when it was read.
        digest: content digest of all rows offered (`gapless.domain.schema.content_digest`).
        dataset: the receipt's, which need not be the rows': what a history loads counts for no hourly window, so its
            receipts are of `history:ohlcv`.
    """

    batch_key: str
    exchange: str
    market: Market
    window: Window
    scope: Scope
    complete: bool
    digest: str
    dataset: str = "ohlcv"

    def __str__(self) -> str:
        names = sorted({symbol for _, symbols in self.scope.groups for symbol in symbols})
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        return f"{self.dataset} {self.market} {self.window} ({len(names)} symbols: {shown})"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows of a load: `rows = loaded + restated + unchanged + outranked`.

    Attributes:
        loaded: new ones. restated: those that replaced a stored row of other values. unchanged: stored already, or
            stored but for nulls that they filled in.
        outranked: different from what a better source had stored, which stays.
        quarantined: refused rows of the batch, stored in `quarantine`.
    """

    rows: int = 0
    loaded: int = 0
    restated: int = 0
    unchanged: int = 0
    outranked: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stored receipt."""

    id: int
    ordinal: int
    complete: bool
    scope: str
    digest: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Coverage:
    """These symbols are loaded in these intervals for this window (bars that complete in it)."""

    window: Window
    symbols: frozenset[str]
    intervals: frozenset[str]


def receipt_id(batch_key: str, ordinal: int) -> int:
    """The id of a batch's n-th receipt: 63 bits that follow from the work, not from when or where it was done."""
    return stable_id(batch_key, ordinal)


def receipts_of(connection: Connection, batch_key: str) -> list[Receipt]:
    """The receipts of a batch, oldest first."""
    table = load_receipt.c
    rows = connection.execute(select(load_receipt).where(table.batch_key == batch_key).order_by(table.ordinal))
    names = Counts.__dataclass_fields__
    return [
        Receipt(r["id"], r["ordinal"], r["complete"], r["scope"], r["digest"], Counts(**{n: r[n] for n in names}))
        for r in rows.mappings()
    ]


def put_receipt(connection: Connection, draft: Draft, ordinal: int, counts: Counts) -> int:
    """Store a receipt and its scope in the connection's transaction; returns the receipt's id."""
    scope = draft.scope.key
    known = connection.scalar(select(load_scope.c.scope).where(load_scope.c.scope == scope).limit(1)) is not None
    for intervals, symbols in () if known else draft.scope.groups:
        row = {
            "scope": scope,
            "intervals": json.dumps(intervals),
            "symbols": json.dumps(symbols, ensure_ascii=False),
        }
        # Another batch may be storing the same scope just now: whoever comes second leaves it as it is.
        connection.execute(insert(load_scope).values(row).on_duplicate_key_update(scope=scope))
    number = receipt_id(draft.batch_key, ordinal)
    connection.execute(
        load_receipt.insert(),
        {
            "id": number,
            "batch_key": draft.batch_key,
            "ordinal": ordinal,
            "dataset": draft.dataset,
            "exchange": draft.exchange,
            "market": str(draft.market),
            "scope": scope,
            "window_start": moment(draft.window.start_ms),
            "window_end": moment(draft.window.end_ms),
            "complete": draft.complete,
            "digest": draft.digest,
            "loaded_at": datetime.now(UTC).replace(tzinfo=None),
            **{name: getattr(counts, name) for name in Counts.__dataclass_fields__},
        },
    )
    return number


def mark_archived(db: MySql, receipt_ids: Collection[int]) -> None:
    """Note that the lake holds the bars of these loads, read back. The first time counts."""
    table = load_receipt.c
    now = datetime.now(UTC).replace(tzinfo=None)
    statement = load_receipt.update().where(table.id.in_(receipt_ids), table.archived_at.is_(None))
    if receipt_ids:
        db.run("marking loads as archived", lambda connection: connection.execute(statement.values(archived_at=now)))


def load_states(db: MySql, batch_keys: Collection[str]) -> dict[str, list[LoadState]]:
    """How far the loads of these batches came; a batch without a receipt is left out.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = load_receipt.c
    statement = select(table.batch_key, table.complete, table.archived_at.is_not(None)).where(
        table.batch_key.in_(sorted(batch_keys))
    )
    found: dict[str, list[LoadState]] = defaultdict(list)
    if batch_keys:
        what = f"reading how far {len(batch_keys)} batches came"
        for key, complete, archived in db.run(what, lambda connection: connection.execute(statement).all()):
            found[key].append(LoadState(bool(complete), bool(archived)))
    return dict(found)


def load_coverage(
    db: MySql, exchange: str, market: Market, wanted: Window, *, dataset: str = "ohlcv", archived: bool = False
) -> list[Coverage]:
    """What complete receipts say is loaded, of windows that meet `wanted`: in order of window.

    Args:
        archived: only loads that the lake holds too (`mark_archived`).
    """
    receipt, scope = load_receipt.c, load_scope.c
    statement = (
        select(receipt.window_start, receipt.window_end, scope.symbols, scope.intervals)
        .distinct()
        .select_from(load_receipt.join(load_scope, receipt.scope == scope.scope))
        .where(
            and_(
                receipt.dataset == dataset,
                receipt.exchange == exchange,
                receipt.market == str(market),
                receipt.complete,
                *([receipt.archived_at.is_not(None)] if archived else []),
                receipt.window_end > moment(wanted.start_ms),
                receipt.window_start < moment(wanted.end_ms),
            )
        )
    )
    rows = db.run(f"reading the receipts of {market} {wanted}", lambda connection: connection.execute(statement).all())
    found = [
        Coverage(Window(ms_of(start), ms_of(end)), frozenset(json.loads(symbols)), frozenset(json.loads(intervals)))
        for start, end, symbols, intervals in rows
    ]
    return sorted(found, key=lambda each: (each.window, sorted(each.intervals)))
