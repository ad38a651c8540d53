"""Rows into MySQL: read what is stored, compare, write only what is new or changed, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlalchemy import Connection

from gapless.domain.datasets import Dataset, Shape
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.window import DAY_MS, iso
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.diff import Diff, diff, rows_to_write
from gapless.storage.mysql.partitions import Month, ensure_months, plan_months, read_partitions
from gapless.storage.mysql.prepare import BARS, Prepared, prepare
from gapless.storage.mysql.reader import Span, read_stored
from gapless.storage.mysql.receipts import Counts, Draft, put_receipt, receipt_id, receipts_of
from gapless.storage.mysql.refused import RefusedRow, put_refused
from gapless.storage.mysql.restatements import put_restatements
from gapless.storage.mysql.server import MySql

LOCK_WAIT_S = 300.0
_MONTHS_TRIED = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load did.

    Attributes:
        receipt_id: the receipt it wrote, or the one that already said all of it.
        added: whether a receipt was written by this load.
        counts: what became of the rows.
        filled: rows of which a value took the place of a stored null, and that replaced none; they are among the
            unchanged (or the outranked, where they disagree otherwise).
    """

    receipt_id: int
    added: bool
    counts: Counts
    filled: int = 0


def load_bars(
    db: MySql, bars: pa.Table, draft: Draft, *, refused: Sequence[RefusedRow] = (), lock_wait_s: float = LOCK_WAIT_S
) -> Outcome:
    """`load_rows` of bars (`gapless.domain.schema.OHLCV`)."""
    return load_rows(db, BARS, bars, draft, refused=refused, lock_wait_s=lock_wait_s)


def load_rows(
    db: MySql,
    shape: Shape,
    rows: pa.Table,
    draft: Draft,
    *,
    refused: Sequence[RefusedRow] = (),
    lock_wait_s: float = LOCK_WAIT_S,
    only_lacking: bool = False,
) -> Outcome:
    """Store rows, the receipt of the load, and the rows that were refused on the way: all of it, or nothing.

    Repeating a load writes nothing. Killed anywhere and repeated, or done by two at once, it leaves the same rows.
    A row that is stored with other values is replaced and both values go to `restatement`; if the stored one's
    source ranks higher (`gapless.domain.schema.knowledge`) it stays, and `restatement` has that once, `applied` 0.
    A null offered for a value changes nothing, and a value fills a stored null in. A receipt is written when there
    is something new to say: rows were written, the batch has none yet, or none of its earlier ones covers the same
    series as completely.

    Loads of one market and day (funding: month) follow each other under a named lock (two of different days run side by
    side). Deadlocks and a server that is away for a while are waited out by the database's retry policy.

    Args:
        shape: which dataset, `gapless.domain.datasets.SHAPES`; its table is named after it.
        rows: of the shape's schema, of one exchange and market, each key once; may be empty.
        draft: what the load is. Its dataset names the receipt alone: a history load has one of its own.
        refused: rows for `quarantine`; those on record already add nothing.
        only_lacking: rows whose key is stored count as unchanged and stay as they are, whatever their values and
            source: for what is brought back from the lake, beside which MySQL's row counts.

    Raises:
        ValidationError: the rows are not what a load takes; nothing was asked of the server.
        StorageError: the server would not take them exactly, or not in time; nothing was stored.
    """
    what = str(draft)
    ready = prepare(rows, what, shape) if rows.num_rows else None
    if ready and (ready.exchange, ready.market) != (draft.exchange, draft.market):
        raise ValidationError(f"{what}: these are rows of {ready.exchange} {ready.market}")
    names = [f"batch:{draft.batch_key}", *lock_names(shape, ready)]
    months = {Month.of_ms(day) for day in ready.days} if ready else set()
    tried: set[int] = set()

    def attempt() -> Outcome:
        for _ in range(_MONTHS_TRIED):
            with db.named_locks(names, timeout_s=lock_wait_s) as connection, connection.begin():
                # Asked under the locks: whoever takes a month's partition away holds them, and a row written without
                # its partition would lie in an outer one, which must stay empty.
                if not months or not plan_months(read_partitions(connection, shape.dataset), months):
                    return _load(connection, shape, ready, draft, refused, tried, only_lacking)
            ensure_months(db, shape.dataset, months)
        raise StorageError(
            f"{what}: the partitions of {', '.join(map(str, sorted(months)))} were taken away {_MONTHS_TRIED} times "
            "while this load waited for its turn. Nothing was stored; run it again when the clearing of months is done"
        )

    return db.retry(what, attempt)


def lock_names(shape: Shape, ready: Prepared | None) -> list[str]:
    """The locks under which rows are written or taken out: one a market and day, of funding one a month."""
    if ready is None:
        return []
    names = (_lock_name(shape.dataset, ready.market, day) for day in ready.days)
    return list(dict.fromkeys(names))


def month_lock_names(dataset: Dataset, month: Month) -> list[str]:
    """All locks that `lock_names` has for rows of a month: who holds them is alone with it."""
    window = month.window
    days = [window.start_ms] if dataset is Dataset.FUNDING else range(window.start_ms, window.end_ms, DAY_MS)
    return [_lock_name(dataset, market, day) for market in Market for day in days]


def _lock_name(dataset: Dataset, market: Market, day_ms: int) -> str:
    return f"{dataset}:{market}:{iso(day_ms)[: 7 if dataset is Dataset.FUNDING else 10]}"


def _load(
    connection: Connection,
    shape: Shape,
    ready: Prepared | None,
    draft: Draft,
    refused: Sequence[RefusedRow],
    tried: set[int],
    only_lacking: bool,
) -> Outcome:
    earlier = receipts_of(connection, draft.batch_key)
    if earlier and earlier[-1].id in tried and earlier[-1].digest == draft.digest:
        # The connection was lost at our COMMIT, which went through.
        return Outcome(earlier[-1].id, True, earlier[-1].counts)
    number = receipt_id(draft.batch_key, len(earlier))
    tried.add(number)
    newly_refused = put_refused(connection, refused, draft.batch_key) if refused else 0
    changes, noted = _write(connection, shape, ready, number, str(draft), only_lacking) if ready else (None, 0)
    counts = _count(ready, changes, refused=len(refused))
    filled = len(changes.filled) if changes else 0
    wrote = newly_refused > 0 or noted > 0 or (changes is not None and len(changes.written) > 0)
    said = [one for one in earlier if one.scope == draft.scope.key and one.complete >= draft.complete]
    if wrote or not said:
        put_receipt(connection, draft, len(earlier), counts)
        return Outcome(number, True, counts, filled)
    return Outcome(said[-1].id, False, counts, filled)


def _write(
    connection: Connection, shape: Shape, ready: Prepared, number: int, what: str, only_lacking: bool
) -> tuple[Diff, int]:
    """Write what is to be written; also how many refusals were not on record yet."""
    symbols = sorted(ready.table["symbol"].unique().to_pylist())
    stored = read_stored(connection, shape, ready.exchange, symbols, _spans(ready.table))
    changes = diff(ready.table, stored, what, shape)
    if only_lacking:
        changes = changes.fresh_alone()
    noted = 0
    if changes.outranked:
        old, new = stored.take(pa.array(changes.refused_old)), ready.table.take(pa.array(changes.refused))
        noted = put_restatements(connection, shape, old, new, receipt_id=number, applied=False)
    written = changes.written
    if len(written) == 0:
        return changes, noted
    rows = rows_to_write(ready.table, stored, changes, what, shape)
    if len(changes.restated):
        old = stored.take(pa.array(changes.restated_old))
        new = rows.take(pa.array(written.searchsorted(changes.restated)))
        put_restatements(connection, shape, old, new, receipt_id=number, applied=True)
    constants: dict[str, int | str] = {"exchange": ready.exchange, "receipt_id": number}
    columns = [name for name in rows.schema.names if name not in constants]
    sent = replace_rows(connection, shape.dataset, rows.select(columns), constants, what)
    if (sent.rows, sent.replaced) != (len(written), changes.replaced):
        raise StorageError(
            f"{what}: {len(written)} rows were to be written, {changes.replaced} of them over stored ones, but MySQL "
            f"says {sent.rows} and {sent.replaced}: another program writes to {shape.dataset}. Nothing was stored"
        )
    return changes, noted


def _spans(table: pa.Table) -> list[Span]:
    """The stretch of times that the rows lie in; of bars for each interval: a day's must not make minutes be read."""
    if "interval" not in table.schema.names:
        table = table.append_column("interval", pa.repeat("", table.num_rows))
    millis = table.select(["interval"]).append_column("ts", table["ts"].cast(pa.int64()))
    spans = millis.group_by("interval").aggregate([("ts", "min"), ("ts", "max")]).to_pylist()
    found = [(str(span["interval"]), span["ts_min"], span["ts_max"] + 1000) for span in spans]
    order = ["", *ALL_INTERVALS]
    return sorted(found, key=lambda span: order.index(span[0]))


def _count(ready: Prepared | None, changes: Diff | None, *, refused: int) -> Counts:
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
