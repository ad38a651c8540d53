"""The gap log: what is missing of each series, since when, and what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select

from gapless.domain.datasets import Dataset
from gapless.domain.window import Window
from gapless.errors import ValidationError
from gapless.storage.mysql.books import data_gap_log, moment, ms_of
from gapless.storage.mysql.gap_states import Entry, Gap, look_again, newly_noticed, step_of
from gapless.storage.mysql.refused import clean_text
from gapless.storage.mysql.server import MySql

_PIECE = 500
_CAUSE_BYTES = 60_000

Series = tuple[str, str]
"""Symbol and interval; the interval is empty where the dataset has none."""


def record_gaps(
    db: MySql,
    gaps: Sequence[Gap],
    *,
    within: Mapping[Series, Sequence[Window]],
    exchange: str = "binance",
    dataset: str = "ohlcv",
) -> dict[str, int]:
    """Take in what is known now of some stretches: these gaps, and no others.

    Returns how many rows were not known to be missing before, by interval: what a counter may count once.

    Gaps on record inside `within` that are not among them become `filled`, and stay on record; the rules for those that
    overlap are in `gapless.storage.mysql.gap_states.look_again`. Done again it writes nothing. Two at once follow each
    other.

    Args:
        gaps: of this exchange and dataset; disjoint within a series.
        within: the stretches that were looked at whole, by series; a gap's own window counts as looked at.

    Raises:
        ValidationError: gaps of another exchange or dataset, overlapping ones, an interval that the dataset lacks.
        StorageError: the server did not take them for as long as retries last.
    """
    found: dict[Series, list[Gap]] = defaultdict(list)
    for gap in gaps:
        if (gap.exchange, gap.dataset) != (exchange, dataset):
            raise ValidationError(
                f"gap log: a gap of {gap.exchange} {gap.dataset} {gap.symbol} among those of {exchange} {dataset}; "
                "record each dataset by itself"
            )
        found[gap.symbol, gap.interval].append(replace(gap, cause=clean_text(gap.cause, _CAUSE_BYTES)))
    series = sorted({*found, *within})
    for symbol, interval in series:
        if bool(interval) != (dataset == Dataset.OHLCV):
            raise ValidationError(
                f"gap log: {symbol} {interval or '(no interval)'} is no series of the dataset {dataset}"
            )
    if not series:
        return {}

    def attempt() -> dict[str, int]:
        noticed: dict[str, int] = defaultdict(int)
        with db.named_locks([gaps_lock(exchange, dataset)]) as connection, connection.begin():
            for at in range(0, len(series), _PIECE):
                piece = series[at : at + _PIECE]
                log = _read_log(connection, exchange, dataset, piece)
                now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
                for symbol, interval in piece:
                    old, step = log.get((symbol, interval), []), step_of(dataset, interval)
                    theirs = found.get((symbol, interval), ())
                    new = look_again(old, theirs, within.get((symbol, interval), ()), step, now)
                    noticed[interval] += newly_noticed(old, theirs, step)
                    key = {"exchange": exchange, "symbol": symbol, "dataset": dataset, "interval": interval}
                    _write(connection, key, old, new, now)
        return {interval: rows for interval, rows in noticed.items() if rows}

    first = f"{series[0][0]} {series[0][1]}".strip()
    return db.retry(
        f"recording {len(gaps)} gaps of {len(series)} series of {exchange} {dataset}, the first {first}", attempt
    )


def read_gaps(
    db: MySql,
    exchange: str,
    dataset: str,
    window: Window,
    symbols: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
    states: Collection[str] | None = None,
) -> list[Gap]:
    """The gaps on record that meet the window, uncut, by symbol, interval and time.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = data_gap_log.c
    statement = select(data_gap_log).where(
        table.exchange == exchange,
        table.dataset == dataset,
        table.gap_start < moment(window.end_ms),
        table.gap_end > moment(window.start_ms),
    )
    for column, wanted in ((table.symbol, symbols), (table.interval, intervals), (table.state, states)):
        if wanted is not None:
            statement = statement.where(column.in_([str(each) for each in wanted]))

    def read(connection: Connection) -> list[Gap]:
        return [gap_of(row) for row in connection.execute(statement).mappings()]

    found = db.run(f"reading the gaps of {exchange} {dataset} {window}", read)
    return sorted(found, key=lambda gap: (gap.symbol, gap.interval, gap.window))


def gap_of(row: RowMapping) -> Gap:
    """The gap of a row of the log."""
    return Gap(
        exchange=row["exchange"],
        symbol=row["symbol"],
        dataset=row["dataset"],
        interval=row["interval"],
        window=Window(ms_of(row["gap_start"]), ms_of(row["gap_end"])),
        bars=row["bars"],
        state=row["state"],
        cause=row["cause"],
        attempts=row["attempts"],
        next_try_ms=None if row["next_try_at"] is None else ms_of(row["next_try_at"]),
        page_key=row["page_key"],
        id=row["id"],
    )


def gaps_lock(exchange: str, dataset: str) -> str:
    """The named lock under which the log of a dataset is changed."""
    return f"gaps:{exchange}:{dataset}"


def _read_log(
    connection: Connection, exchange: str, dataset: str, series: Sequence[Series]
) -> dict[Series, list[Entry]]:
    table = data_gap_log.c
    statement = select(data_gap_log).where(
        table.exchange == exchange, table.dataset == dataset, table.symbol.in_(sorted({symbol for symbol, _ in series}))
    )
    log: dict[Series, list[Entry]] = defaultdict(list)
    for row in connection.execute(statement).mappings():
        log[row["symbol"], row["interval"]].append(
            Entry(
                id=row["id"],
                window=Window(ms_of(row["gap_start"]), ms_of(row["gap_end"])),
                bars=row["bars"],
                state=row["state"],
                cause=row["cause"],
                attempts=row["attempts"],
                noticed_at=row["noticed_at"],
                page_sent_at=row["page_sent_at"],
                page_key=row["page_key"],
                next_try_at=row["next_try_at"],
            )
        )
    return log


def _write(
    connection: Connection, key: Mapping[str, str], old: Sequence[Entry], new: Sequence[Entry], now: datetime
) -> None:
    """Entries that changed are written anew under their id: several may have moved onto each other's beginning."""
    standing = set(old) & set(new)
    gone = [entry.id for entry in old if entry not in standing]
    for at in range(0, len(gone), _PIECE):
        connection.execute(delete(data_gap_log).where(data_gap_log.c.id.in_(gone[at : at + _PIECE])))
    rows: list[dict[str, Any]] = [
        {
            **key,
            **({} if entry.id is None else {"id": entry.id}),
            "gap_start": moment(entry.window.start_ms),
            "gap_end": moment(entry.window.end_ms),
            "bars": entry.bars,
            "attempts": entry.attempts,
            "state": entry.state,
            "cause": entry.cause,
            "noticed_at": entry.noticed_at,
            "changed_at": now,
            "page_sent_at": entry.page_sent_at,
            "page_key": entry.page_key,
            "next_try_at": entry.next_try_at,
        }
        for entry in new
        if entry not in standing
    ]
    for named in (True, False):
        some = [row for row in rows if ("id" in row) is named]
        if some:
            connection.execute(data_gap_log.insert(), some)
