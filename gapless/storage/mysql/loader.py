"""Bars into MySQL: read what is stored, compare, write only what is new or changed, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlalchemy import Connection

from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import iso
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.diff import Bars, Diff, diff, prepare
from gapless.storage.mysql.partitions import Month, ensure_months
from gapless.storage.mysql.reader import read_stored
from gapless.storage.mysql.receipts import Counts, Draft, put_receipt, receipt_id, receipts_of
from gapless.storage.mysql.refused import RefusedRow, put_refused
from gapless.storage.mysql.restatements import put_restatements
from gapless.storage.mysql.server import MySql

TABLE = "ohlcv"
LOCK_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load did.

    Attributes:
        receipt_id: the receipt it wrote, or the one that already said all of it.
        added: whether a receipt was written by this load.
        counts: what became of the rows.
    """

    receipt_id: int
    added: bool
    counts: Counts


def load_bars(
    db: MySql, bars: pa.Table, draft: Draft, *, refused: Sequence[RefusedRow] = (), lock_wait_s: float = LOCK_WAIT_S
) -> Outcome:
    """Store bars, the receipt of the load, and the rows that were refused on the way: all of it, or nothing.

    Repeating a load writes nothing. Killed anywhere and repeated, or done by two at once, it leaves the same rows. A
    bar that is stored with other values is replaced (unless its source ranks higher,
    `gapless.domain.schema.knowledge`) and both values go to `restatement`. A receipt is written when there is
    something new to say: rows were written, the batch has none yet, or none of its earlier ones covers the same series
    as completely.

    Loads of one market and day follow each other under a named lock (two of different days run side by side). Deadlocks
    and a server that is away for a while are waited out by the database's retry policy.

    Args:
        bars: `gapless.domain.schema.OHLCV`, of one exchange and market, each key once; may be empty.
        draft: what the load is.
        refused: rows for `quarantine`; those on record already add nothing.

    Raises:
        ValidationError: the bars are not what a load takes; nothing was asked of the server.
        StorageError: the server would not take them exactly, or not in time; nothing was stored.
    """
    what = str(draft)
    ready = prepare(bars, what) if bars.num_rows else None
    if ready and (ready.exchange, ready.market) != (draft.exchange, draft.market):
        raise ValidationError(f"{what}: these are bars of {ready.exchange} {ready.market}")
    names = [f"batch:{draft.batch_key}"]
    names += [f"{TABLE}:{draft.market}:{iso(day)[:10]}" for day in (ready.days if ready else ())]
    tried: set[int] = set()

    def attempt() -> Outcome:
        if ready:
            ensure_months(db, TABLE, {Month.of_ms(day) for day in ready.days})
        with db.named_locks(names, timeout_s=lock_wait_s) as connection, connection.begin():
            return _load(connection, ready, draft, refused, tried)

    return db.retry(what, attempt)


def _load(
    connection: Connection, ready: Bars | None, draft: Draft, refused: Sequence[RefusedRow], tried: set[int]
) -> Outcome:
    earlier = receipts_of(connection, draft.batch_key)
    if earlier and earlier[-1].id in tried and earlier[-1].digest == draft.digest:
        # The connection was lost at our COMMIT, which went through.
        return Outcome(earlier[-1].id, True, earlier[-1].counts)
    number = receipt_id(draft.batch_key, len(earlier))
    tried.add(number)
    newly_refused = put_refused(connection, refused, draft.batch_key) if refused else 0
    changes = _write(connection, ready, number, str(draft)) if ready else None
    counts = _count(ready, changes, refused=len(refused))
    wrote = newly_refused > 0 or (changes is not None and len(changes.written) > 0)
    said = [one for one in earlier if one.scope == draft.scope.key and one.complete >= draft.complete]
    if wrote or not said:
        put_receipt(connection, draft, len(earlier), counts)
        return Outcome(number, True, counts)
    return Outcome(said[-1].id, False, counts)


def _write(connection: Connection, ready: Bars, number: int, what: str) -> Diff:
    symbols = sorted(ready.table["symbol"].unique().to_pylist())
    stored = read_stored(connection, ready.exchange, symbols, _spans(ready.table))
    changes = diff(ready.table, stored, what)
    written = changes.written
    if len(written) == 0:
        return changes
    if len(changes.restated):
        old, new = stored.take(pa.array(changes.restated_old)), ready.table.take(pa.array(changes.restated))
        put_restatements(connection, old, new, receipt_id=number)
    whole = len(written) == ready.table.num_rows
    rows = ready.table if whole else ready.table.take(pa.array(written))
    constants: dict[str, int | str] = {"exchange": ready.exchange, "receipt_id": number}
    columns = [name for name in rows.schema.names if name not in constants]
    sent = replace_rows(connection, TABLE, rows.select(columns), constants, what)
    if (sent.rows, sent.replaced) != (len(written), changes.replaced):
        raise StorageError(
            f"{what}: {len(written)} bars were to be written, {changes.replaced} of them over stored ones, but "
            f"MySQL says {sent.rows} and {sent.replaced}: another program writes to {TABLE}. Nothing was stored"
        )
    return changes


def _spans(table: pa.Table) -> list[tuple[Interval, int, int]]:
    """For each interval the stretch of open times that its bars lie in: a day's bar must not make minutes be read."""
    millis = table.select(["interval"]).append_column("ts", table["ts"].cast(pa.int64()))
    spans = millis.group_by("interval").aggregate([("ts", "min"), ("ts", "max")]).to_pylist()
    found = [(Interval(span["interval"]), span["ts_min"], span["ts_max"] + 1000) for span in spans]
    return sorted(found, key=lambda span: ALL_INTERVALS.index(span[0]))


def _count(ready: Bars | None, changes: Diff | None, *, refused: int) -> Counts:
    if ready is None or changes is None:
        return Counts(quarantined=refused)
    return Counts(
        rows=ready.table.num_rows,
        loaded=len(changes.fresh),
        restated=len(changes.restated),
        unchanged=changes.unchanged,
        outranked=changes.outranked,
        quarantined=refused,
    )
