"""The book of months that leave: what is entered is read back whole, the newest round last."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from sqlalchemy import text

from gapless.domain.datasets import Dataset
from gapless.errors import StorageError
from gapless.storage.mysql import MySql
from gapless.storage.mysql.exports import (
    COPYING,
    DROPPED,
    LEAVING,
    VERIFIED,
    MonthExport,
    newest_export,
    put_export,
    read_exports,
)
from gapless.storage.mysql.faults import RetryPolicy
from gapless.storage.mysql.partitions import Month

JULY = Month(2026, 7)
FULL = MonthExport(
    dataset=Dataset.METRICS,
    month=JULY,
    round=2,
    state=VERIFIED,
    begun_ms=1_790_000_000_123,
    mark=f"{2**40}:{2**104}",
    rows=2**40,
    series=3,
    beside=4,
    outranked=5,
    table_bytes=2**41,
    bytes=2**39,
    files=7,
    written=2,
    digest="ab" * 32,
    manifest_uri="s3://bucket/予備/ohlcv/2026-07.json",
    copy_seconds=12.25,
    verify_seconds=0.1,
    verified_ms=1_790_000_001_001,
    dropped_ms=1_790_000_002_002,
    hold_until_ms=1_790_000_003_003,
)


def test_every_field_is_read_back_as_it_was_entered(emptied: MySql) -> None:
    assert all(getattr(FULL, field.name) not in (0, "", None) for field in fields(FULL))
    bare = MonthExport(Dataset.OHLCV, JULY, 1, COPYING, begun_ms=0)
    for export in (FULL, bare):
        put_export(emptied, export)
        assert newest_export(emptied, export.dataset, JULY) == export


def test_an_export_is_entered_anew_as_it_goes_on(emptied: MySql) -> None:
    export = MonthExport(Dataset.OHLCV, JULY, 1, COPYING, begun_ms=1)
    put_export(emptied, export)
    for state, field in ((LEAVING, {"mark": "1:2"}), (VERIFIED, {"verified_ms": 5}), (DROPPED, {"dropped_ms": 6})):
        export = replace(export, state=state, **field)
        put_export(emptied, export)
        put_export(emptied, export)
        assert read_exports(emptied) == [export]
    put_export(emptied, bare := replace(export, verified_ms=None))
    assert read_exports(emptied) == [bare]


def test_rounds_are_read_in_order_and_the_newest_is_known(emptied_mariadb: MySql) -> None:
    db = emptied_mariadb
    entered = [
        MonthExport(dataset, month, number, DROPPED, begun_ms=1)
        for dataset in sorted(Dataset, key=str)
        for month in (Month(2026, 6), JULY)
        for number in (1, 2, 10)
    ]
    assert (read_exports(db), newest_export(db, Dataset.OHLCV, JULY)) == ([], None)
    for export in reversed(entered):
        put_export(db, export)
    assert read_exports(db) == entered
    assert read_exports(db, Dataset.METRICS) == [each for each in entered if each.dataset is Dataset.METRICS]
    assert read_exports(db, month=JULY) == [each for each in entered if each.month == JULY]
    newest = newest_export(db, Dataset.FUNDING, JULY)
    assert newest is not None
    assert newest.round == 10
    assert newest_export(db, Dataset.FUNDING, Month(2026, 8)) is None


def test_a_server_that_is_away_is_said_with_the_month() -> None:
    db = MySql("mysql://nobody:x@127.0.0.1:1/none", retry=RetryPolicy(total_s=0))
    with pytest.raises(StorageError, match="entering the export of futures_metrics 2026-07"):
        put_export(db, FULL)
    with pytest.raises(StorageError, match="reading which months were exported"):
        read_exports(db)


def test_a_state_longer_than_the_book_takes_is_refused_and_nothing_entered(emptied: MySql) -> None:
    with pytest.raises(StorageError, match="entering the export of futures_metrics 2026-07"):
        put_export(emptied, replace(FULL, state="x" * 17))
    assert emptied.run("counting", lambda c: c.scalar(text("SELECT COUNT(*) FROM month_export"))) == 0
