"""Months: each needed one stands alone, whatever stood before; the outer partitions stay empty."""

from __future__ import annotations

import threading
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.storage.mysql import MySql, load_bars, read_bars
from gapless.storage.mysql.partitions import (
    BEFORE,
    MAX,
    Month,
    Partition,
    Split,
    ensure_months,
    month_range,
    months_of,
    parse_month,
    plan_months,
    read_partitions,
)
from tests.storage.mysql.bars import draft_for, make_bars

NEW_TABLE = [Partition(BEFORE, date(1970, 1, 1)), Partition(MAX, None)]
MONTHS = st.builds(Month, st.integers(2024, 2027), st.integers(1, 12))


def apply(partitions: list[Partition], splits: list[Split]) -> list[Partition]:
    """What the server does with REORGANIZE: neighbours give way to others of the same range."""
    for split in splits:
        names = [part.name for part in partitions]
        at = names.index(split.replaced[0])
        assert tuple(names[at : at + len(split.replaced)]) == split.replaced
        assert partitions[at + len(split.replaced) - 1].until == split.made[-1].until
        partitions = partitions[:at] + list(split.made) + partitions[at + len(split.replaced) :]
    bounds = [part.until for part in partitions[:-1]]
    assert bounds == sorted(set(bounds))
    return partitions


def exact(partitions: list[Partition], month: Month) -> bool:
    names = [part.name for part in partitions]
    if month.partition not in names:
        return False
    at = names.index(month.partition)
    return (partitions[at - 1].until, partitions[at].until) == (month.first_day, month.plus(1).first_day)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(MONTHS, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_every_needed_month_has_a_partition_of_its_own(asked: list[list[Month]], data: st.DataObject) -> None:
    partitions = list(NEW_TABLE)
    for needed in asked:
        partitions = apply(partitions, plan_months(partitions, needed))
        assert all(exact(partitions, month) for month in needed)
        assert (partitions[0].name, partitions[-1]) == (BEFORE, Partition(MAX, None))
        assert plan_months(partitions, needed) == []
        months = partitions[1:-1]
        if len(months) > 1:  # somebody drops a month: its range falls to the next partition
            del partitions[data.draw(st.integers(1, len(months)))]


def test_a_new_table_gets_the_needed_months_and_no_century_of_empty_ones() -> None:
    [split] = plan_months(NEW_TABLE, [Month(2026, 11), Month(2027, 1)])
    assert split.sql("ohlcv") == (
        "ALTER TABLE `ohlcv` REORGANIZE PARTITION p_before, pmax INTO (PARTITION p_before VALUES LESS THAN "
        "('2026-11-01'), PARTITION p202611 VALUES LESS THAN ('2026-12-01'), PARTITION p202612 VALUES LESS THAN "
        "('2027-01-01'), PARTITION p202701 VALUES LESS THAN ('2027-02-01'), PARTITION pmax VALUES LESS THAN (MAXVALUE))"
    )


def test_a_table_of_another_shape_is_left_alone() -> None:
    with pytest.raises(StorageError, match="not partitioned as expected: not at all"):
        plan_months([], [Month(2026, 11)])
    with pytest.raises(StorageError, match="not months"):
        plan_months([NEW_TABLE[0], Partition("p1", date(2026, 11, 15)), NEW_TABLE[1]], [Month(2026, 11)])


def test_months_of_a_window_and_their_arithmetic() -> None:
    assert months_of(Window.of("2026-11-20", "2027-01-01")) == [Month(2026, 11), Month(2026, 12)]
    assert Month(2026, 1).plus(-1) == Month(2025, 12)
    assert [str(month) for month in month_range(Month(2026, 12), Month(2027, 1))] == ["2026-12", "2027-01"]
    assert parse_month("2026-11") == Month(2026, 11)


def test_months_are_made_on_the_server_far_back_and_ahead(database: MySql) -> None:
    made = ensure_months(database, "ohlcv", [Month(2026, 3)])
    assert "p202603" in made
    assert "p202604" in made  # and those between it and the standing ones
    assert ensure_months(database, "ohlcv", [Month(2026, 3), Month(2026, 4)]) == []
    with database.engine.connect() as connection:
        partitions = read_partitions(connection, "ohlcv")
    assert all(exact(partitions, month) for month in month_range(Month(2026, 3), Month(2026, 12)))


def test_a_load_makes_its_month_and_the_outer_partitions_stay_empty(database: MySql) -> None:
    for start, key in (("2025-12-31", "a" * 16), ("2028-02-28", "b" * 16)):
        window = Window(
            Window.of(start, "2030-01-01").start_ms, Window.of(start, "2030-01-01").start_ms + 2 * 86_400_000
        )
        bars = make_bars(["BTC/USDT"], window)
        load_bars(database, bars, draft_for(bars, window, key=key))
        assert read_bars(database, ["BTC/USDT"], ["1m"], window).equals(bars)  # type: ignore[list-item]
    with database.engine.connect() as connection:
        for name, rows in ((BEFORE, 0), (MAX, 0), ("p202512", 1440), ("p202601", 1440), ("p202802", 2880)):
            assert connection.scalar(text(f"SELECT COUNT(*) FROM ohlcv PARTITION ({name})")) == rows


def test_a_dropped_month_comes_back_and_its_neighbour_keeps_its_rows(database: MySql) -> None:
    october, november = Window.of("2026-10-05", "2026-10-06"), Window.of("2026-11-05", "2026-11-06")
    old, new = make_bars(["BTC/USDT"], october), make_bars(["BTC/USDT"], november)
    for window, bars, key in ((october, old, "a" * 16), (november, new, "b" * 16)):
        load_bars(database, bars, draft_for(bars, window, key=key))
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ohlcv DROP PARTITION p202610"))
    load_bars(database, old, draft_for(old, october, key="c" * 16))
    with database.engine.connect() as connection:
        partitions = read_partitions(connection, "ohlcv")
        assert exact(partitions, Month(2026, 10))
        assert exact(partitions, Month(2026, 11))
        for name in ("p202610", "p202611"):
            assert connection.scalar(text(f"SELECT COUNT(*) FROM ohlcv PARTITION ({name})")) == 1440


def test_a_missing_table_says_what_to_do(empty_database: MySql) -> None:
    with pytest.raises(StorageError, match="table ohlcv does not exist: run `gapless db upgrade`"):
        ensure_months(empty_database, "ohlcv", [Month(2026, 11)])


def test_partitions_are_read_while_others_are_made(database: MySql) -> None:
    """MariaDB's information_schema leaves out a table whose definition is being changed."""
    ended = threading.Event()

    def make() -> None:
        try:
            for month in month_range(Month(2025, 1), Month(2025, 12)):
                ensure_months(database, "ohlcv", [month])
        finally:
            ended.set()

    thread = threading.Thread(target=make)
    thread.start()
    counts = []
    while not ended.is_set():
        with database.engine.connect() as connection:
            counts.append(len(read_partitions(connection, "ohlcv")))
    thread.join()
    assert all(counts)
    assert counts == sorted(counts)
