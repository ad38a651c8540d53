"""A month leaves its table in one stroke, is destroyed only against a proof, and no row slips in unseen."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.schema import OHLCV
from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.storage.mysql import MySql, leaving, loader
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.departing import Mark, MonthRows
from gapless.storage.mysql.exports import COPYING, DROPPED, LEAVING, RESTORED, VERIFIED, MonthExport, put_export
from gapless.storage.mysql.faults import RetryPolicy
from gapless.storage.mysql.leaving import (
    Leaving,
    discard_empty_twin,
    drop_twin,
    exchange_out,
    find_twins,
    fold_empty_months,
    foldable,
    month_bytes,
    standing_months,
    twin_mark,
)
from gapless.storage.mysql.loader import lock_names, month_lock_names
from gapless.storage.mysql.partitions import BEFORE, MAX, Month, Partition, ensure_months, own_months
from gapless.storage.mysql.prepare import prepare
from gapless.storage.mysql.receipts import put_receipt
from gapless.storage.mysql.twins import exchange_partition, twin_definition
from tests.storage.mysql.bars import make_bars, with_value
from tests.storage.mysql.leaving_process import DROP, EXCHANGE, FOLD, leave, take_out
from tests.storage.mysql.months import JULY, PERPS, fill, held, july

BARS = Leaving(Dataset.OHLCV, JULY)
PARTITION = "ohlcv PARTITION (p202607)"

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.storage.mysql.leaving_process"])


def mark_now(db: MySql, one: Leaving = BARS) -> Mark:
    with MonthRows.open(db, one.dataset, one.month) as rows:
        return rows.mark()


def verified(db: MySql, one: Leaving = BARS, *, mark: Mark | None = None) -> MonthExport:
    """An export in the book whose rows are proved."""
    export = MonthExport(one.dataset, one.month, 1, VERIFIED, begun_ms=1, mark=str(mark or twin_mark(db, one)))
    put_export(db, export)
    return export


@pytest.mark.parametrize("dataset", list(Dataset))
def test_a_month_leaves_whole_and_its_partition_stays_empty(emptied: MySql, dataset: Dataset) -> None:
    one, stored = Leaving(dataset, JULY), july(dataset)
    fill(emptied, dataset, stored)
    mark = mark_now(emptied, one)
    assert find_twins(emptied) == []
    assert exchange_out(emptied, one, mark)
    assert find_twins(emptied) == [one]
    assert twin_mark(emptied, one) == mark == Mark(stored.num_rows, mark.receipts)
    assert held(emptied, one.table) == 0
    assert JULY in standing_months(emptied, one.table)
    assert one.twin == f"{dataset}_leaving_202607"


def test_a_month_that_was_written_meanwhile_does_not_leave(emptied: MySql) -> None:
    stored = july(Dataset.OHLCV)
    fill(emptied, Dataset.OHLCV, stored)
    mark = mark_now(emptied)
    fill(emptied, Dataset.OHLCV, with_value(stored, 1, "trades", 9), key="1" * 16)
    assert not exchange_out(emptied, BARS, mark)
    assert find_twins(emptied) == []
    assert held(emptied, PARTITION) == stored.num_rows
    assert exchange_out(emptied, BARS, mark_now(emptied))


def test_a_month_without_a_partition_does_not_leave(emptied_mariadb: MySql) -> None:
    assert not exchange_out(emptied_mariadb, Leaving(Dataset.OHLCV, Month(2019, 1)), Mark(0, 0))
    assert find_twins(emptied_mariadb) == []


def test_a_load_under_way_is_waited_for_and_its_row_keeps_the_month(
    emptied: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = july(Dataset.OHLCV)
    fill(emptied, Dataset.OHLCV, stored.slice(1))
    mark = mark_now(emptied)
    writing, go_on = threading.Event(), threading.Event()

    def paused(*args: Any, **kwargs: Any) -> Any:
        writing.set()
        assert go_on.wait(30)
        return put_receipt(*args, **kwargs)

    monkeypatch.setattr(loader, "put_receipt", paused)
    load = threading.Thread(target=fill, args=(emptied, Dataset.OHLCV, stored), kwargs={"key": "1" * 16})
    load.start()
    assert writing.wait(30)
    with pytest.raises(StorageError, match="is held by another process"):
        exchange_out(emptied, BARS, mark, lock_wait_s=0)
    left: list[bool] = []
    exchange = threading.Thread(target=lambda: left.append(exchange_out(emptied, BARS, mark)))
    exchange.start()
    go_on.set()
    for thread in (load, exchange):
        thread.join(30)
    assert left == [False]
    assert held(emptied, PARTITION) == stored.num_rows


def test_a_load_that_waits_for_the_exchange_lands_in_the_empty_partition(
    emptied: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = july(Dataset.OHLCV)
    fill(emptied, Dataset.OHLCV, stored.slice(1))
    late: list[threading.Thread] = []

    def exchange(*args: Any) -> None:
        late.append(
            threading.Thread(target=fill, args=(emptied, Dataset.OHLCV, stored.slice(0, 1)), kwargs={"key": "1" * 16})
        )
        late[0].start()
        exchange_partition(*args)

    monkeypatch.setattr(leaving, "exchange_partition", exchange)
    assert exchange_out(emptied, BARS, mark_now(emptied))
    late[0].join(30)
    assert (held(emptied, PARTITION), twin_mark(emptied, BARS).rows) == (1, stored.num_rows - 1)
    # Another round is not begun before the first is finished.
    with pytest.raises(StorageError, match="holds rows of an earlier export of this month; finish that first"):
        exchange_out(emptied, BARS, mark_now(emptied))
    assert (held(emptied, PARTITION), twin_mark(emptied, BARS).rows) == (1, stored.num_rows - 1)


def test_an_exchange_whose_answer_was_lost_is_known_to_be_done(emptied: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange_and_hang_up(connection: Connection, *args: Any) -> None:
        exchange_partition(connection, *args)
        connection.exec_driver_sql(f"KILL {connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar()}")

    monkeypatch.setattr(leaving, "exchange_partition", exchange_and_hang_up)
    fill(emptied, Dataset.OHLCV, july(Dataset.OHLCV))
    mark = mark_now(emptied)
    assert exchange_out(emptied, BARS, mark)
    assert twin_mark(emptied, BARS) == mark


def test_an_empty_twin_that_was_left_is_no_hindrance_even_of_an_older_form(emptied: MySql) -> None:
    stored = july(Dataset.OHLCV)
    fill(emptied, Dataset.OHLCV, stored)
    emptied.run("leaving one", lambda c: c.execute(text(f"CREATE TABLE {BARS.twin} (x INT)")))
    assert find_twins(emptied) == [BARS]
    assert discard_empty_twin(emptied, BARS)
    assert not discard_empty_twin(emptied, BARS)
    emptied.run("leaving one", lambda c: c.execute(text(f"CREATE TABLE {BARS.twin} (x INT)")))
    assert exchange_out(emptied, BARS, mark_now(emptied))
    with pytest.raises(StorageError, match="it holds rows; nothing was dropped"):
        discard_empty_twin(emptied, BARS)
    assert twin_mark(emptied, BARS).rows == stored.num_rows


def test_a_snapshot_that_is_open_delays_the_exchange_and_nothing_else(emptied_mariadb: MySql) -> None:
    db = emptied_mariadb
    fill(db, Dataset.OHLCV, july(Dataset.OHLCV))
    url = db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    hasty = MySql(url, retry=RetryPolicy(total_s=0))
    with MonthRows.open(db, Dataset.OHLCV, JULY) as rows:
        mark = rows.mark()
        with pytest.raises(StorageError, match=r"taking ohlcv 2026-07 out of its table: gave up .* Lock wait timeout"):
            exchange_out(hasty, BARS, mark)
    [twin] = find_twins(db)
    assert twin_mark(db, twin) == Mark(0, 0)
    assert exchange_out(hasty, BARS, mark)
    session = hasty.run("asking", lambda c: c.execute(text("SELECT @@lock_wait_timeout, @@autocommit")).one())
    assert tuple(session) == (60, 0)
    hasty.close()


def test_a_twin_is_dropped_against_its_proof_once(emptied: MySql) -> None:
    fill(emptied, Dataset.OHLCV, july(Dataset.OHLCV))
    exchange_out(emptied, BARS, mark_now(emptied))
    proof = verified(emptied)
    drop_twin(emptied, BARS, proof)
    assert find_twins(emptied) == []
    drop_twin(emptied, BARS, proof)
    with pytest.raises(StorageError, match="there is no such table"):
        twin_mark(emptied, BARS)


@pytest.fixture
def left(emptied_mariadb: MySql) -> MySql:
    """A database whose July of bars stands in the twin."""
    fill(emptied_mariadb, Dataset.OHLCV, july(Dataset.OHLCV))
    exchange_out(emptied_mariadb, BARS, mark_now(emptied_mariadb))
    return emptied_mariadb


def test_nothing_is_dropped_without_a_sound_proof(left: MySql) -> None:
    mark = twin_mark(left, BARS)
    proof = MonthExport(Dataset.OHLCV, JULY, 2, VERIFIED, begun_ms=1, mark=str(mark))

    def refused(match: str, offered: MonthExport, *entered: MonthExport) -> None:
        left.run("emptying the book", lambda c: c.execute(text("DELETE FROM month_export")))
        for each in entered:
            put_export(left, each)
        with pytest.raises(StorageError, match=match):
            drop_twin(left, BARS, offered)
        assert twin_mark(left, BARS) == mark

    for state in (COPYING, LEAVING, DROPPED, RESTORED, ""):
        refused("not verified; nothing was dropped", replace(proof, state=state), proof)
        refused("the book says", proof, replace(proof, state=state))
    refused("the proof is of ohlcv 2026-06", replace(proof, month=Month(2026, 6)), proof)
    refused("the proof is of futures_metrics", replace(proof, dataset=Dataset.METRICS), proof)
    refused("the book has no such export", proof)
    refused("the book has no such export", proof, replace(proof, month=Month(2026, 8)))
    refused("the book says verified, round 2, 1:1", proof, replace(proof, mark="1:1"))
    refused("the book says copying, round 3", proof, proof, replace(proof, round=3, state=COPYING))
    for other in (replace(mark, rows=mark.rows + 1), replace(mark, receipts=mark.receipts - 1)):
        wrong = replace(proof, mark=str(other))
        refused(f"but {other} were verified; nothing was dropped", wrong, wrong)


def test_a_row_written_to_the_twin_after_the_proof_saves_it(left: MySql) -> None:
    proof = verified(left)
    left.run("writing", lambda c: c.execute(text(f"UPDATE {BARS.twin} SET receipt_id = receipt_id + 1 LIMIT 1")))
    with pytest.raises(StorageError, match="were verified; nothing was dropped"):
        drop_twin(left, BARS, proof)
    assert find_twins(left) == [BARS]


def test_empty_months_are_folded_up_to_the_first_that_has_a_row(emptied: MySql) -> None:
    fold_empty_months(emptied, "ohlcv", Month(2040, 1))
    ensure_months(emptied, "ohlcv", [Month(2026, 3), Month(2026, 11)])
    fill(emptied, Dataset.OHLCV, july(Dataset.OHLCV))
    standing = standing_months(emptied, "ohlcv")
    assert fold_empty_months(emptied, "ohlcv", Month(2026, 3)) == []
    assert fold_empty_months(emptied, "ohlcv", Month(2026, 5)) == ["p202603", "p202604"]
    assert fold_empty_months(emptied, "ohlcv", Month(2026, 12)) == ["p202605", "p202606"]
    assert standing_months(emptied, "ohlcv") == [month for month in standing if month >= JULY]
    assert fold_empty_months(emptied, "ohlcv", Month(2026, 12)) == []
    back = make_bars(PERPS[:1], Window.of("2026-04-01", "2026-04-01T01:00"))
    fill(emptied, Dataset.OHLCV, back, key="1" * 16)
    assert standing_months(emptied, "ohlcv")[:2] == [Month(2026, 4), Month(2026, 5)]
    assert held(emptied, f"ohlcv PARTITION ({BEFORE})") == 0


def test_all_months_can_be_folded_and_made_again(emptied: MySql) -> None:
    ensure_months(emptied, "funding_rate", [JULY])
    standing = standing_months(emptied, "funding_rate")
    assert fold_empty_months(emptied, "funding_rate", Month(2030, 1)) == [month.partition for month in standing]
    assert standing_months(emptied, "funding_rate") == []
    fill(emptied, Dataset.FUNDING, july(Dataset.FUNDING))
    assert standing_months(emptied, "funding_rate")[0] == JULY


def test_nothing_is_folded_into_a_partition_that_is_not_empty(emptied_mariadb: MySql) -> None:
    db = emptied_mariadb
    fold_empty_months(db, "funding_rate", Month(2040, 1))
    ensure_months(db, "funding_rate", [JULY])
    row = "'X/USDT:USDT', '2020-01-01', 'binance', 'Regular', '2020-01-01', 0, NULL, NULL, 1, 1"
    db.run("writing", lambda c: c.execute(text(f"INSERT INTO funding_rate VALUES ({row})")))
    with pytest.raises(StorageError, match="the partition p_before of funding_rate holds rows"):
        fold_empty_months(db, "funding_rate", Month(2026, 8))
    assert standing_months(db, "funding_rate")[0] == JULY


def test_a_month_folded_while_its_load_waits_is_made_again(emptied: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, folded = july(Dataset.OHLCV), list[str]()
    fold_empty_months(emptied, "ohlcv", Month(2040, 1))

    def ensure_and_fold(db: MySql, table: str, months: Any) -> list[str]:
        made = ensure_months(db, table, months)
        if not folded:
            folded.extend(fold_empty_months(db, table, JULY.plus(1)))
        return made

    monkeypatch.setattr(loader, "ensure_months", ensure_and_fold)
    fill(emptied, Dataset.OHLCV, stored)
    assert folded == ["p202607"]
    assert held(emptied, PARTITION) == held(emptied, "ohlcv") == stored.num_rows


def test_a_load_whose_month_is_folded_again_and_again_gives_up_and_stores_nothing(
    emptied_mariadb: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_empty_months(emptied_mariadb, "ohlcv", Month(2040, 1))
    monkeypatch.setattr(loader, "ensure_months", lambda *_: [])
    with pytest.raises(StorageError, match="the partitions of 2026-07 were taken away 5 times"):
        fill(emptied_mariadb, Dataset.OHLCV, july(Dataset.OHLCV))
    assert held(emptied_mariadb, "ohlcv") == 0


def test_a_month_is_not_folded_under_a_load(emptied: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    folds: list[threading.Thread] = []
    folded: list[str] = []

    def write(*args: Any, **kwargs: Any) -> Any:
        folds.append(threading.Thread(target=lambda: folded.extend(fold_empty_months(emptied, "ohlcv", JULY.plus(1)))))
        folds[0].start()
        return replace_rows(*args, **kwargs)

    monkeypatch.setattr(loader, "replace_rows", write)
    stored = july(Dataset.OHLCV)
    ensure_months(emptied, "ohlcv", [JULY.plus(-1)])
    fold_empty_months(emptied, "ohlcv", JULY)
    fill(emptied, Dataset.OHLCV, stored)
    folds[0].join(60)
    assert folded == []
    assert held(emptied, PARTITION) == stored.num_rows


@given(
    st.sampled_from(list(Dataset)),
    st.booleans(),
    st.lists(st.integers(0, 31 * 24 * 12 - 1), min_size=1, max_size=5, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_every_lock_of_a_load_is_among_the_locks_of_its_month(dataset: Dataset, spot: bool, slots: list[int]) -> None:
    start = JULY.start_ms
    one = july(dataset).slice(0, 1)
    rows = pa.concat_tables([one] * len(slots))
    times = pa.array([start + slot * 300_000 for slot in slots], pa.int64()).cast(OHLCV.field("ts").type)
    rows = rows.set_column(rows.schema.get_field_index("ts"), rows.schema.field("ts"), times)
    if spot:
        rows = rows.set_column(
            rows.schema.get_field_index("symbol"), rows.schema.field("symbol"), pa.repeat("BTC/USDT", len(slots))
        )
    shape = SHAPES[dataset]
    names = lock_names(shape, prepare(rows, "rows", shape))
    assert set(names) <= set(month_lock_names(dataset, JULY))
    assert len(names) == len(set(names))
    assert not set(names) & set(month_lock_names(dataset, JULY.plus(1)))


def test_only_whole_months_of_the_past_are_folded() -> None:
    border = Partition(BEFORE, date(2026, 3, 1))
    wide = Partition("p202605", date(2026, 6, 1))
    assert foldable([border, wide, Partition(MAX, None)], Month(2026, 6)) == (wide, [Month(2026, n) for n in (3, 4, 5)])
    assert foldable([border, wide, Partition(MAX, None)], Month(2026, 5)) is None
    assert foldable([border, Partition(MAX, None)], Month(2030, 1)) is None
    assert foldable([], Month(2030, 1)) is None
    assert own_months([border, wide, Partition("p202606", date(2026, 7, 1)), Partition(MAX, None)]) == [Month(2026, 6)]


def test_a_table_that_is_not_partitioned_has_no_twin() -> None:
    with pytest.raises(StorageError, match="ohlcv is not partitioned as expected"):
        twin_definition("CREATE TABLE `ohlcv` (x INT)", "ohlcv", BARS.twin)


def test_bytes_of_a_partition_and_of_a_twin_are_known(emptied: MySql) -> None:
    fill(emptied, Dataset.OHLCV, july(Dataset.OHLCV))
    assert month_bytes(emptied, "ohlcv", "p202607") >= 16_384
    assert month_bytes(emptied, "ohlcv", "p201901") == 0
    exchange_out(emptied, BARS, mark_now(emptied))
    assert month_bytes(emptied, "ohlcv", BARS.twin) >= 16_384


def test_killed_after_any_step_nothing_is_lost_and_the_next_run_ends_it(emptied: MySql) -> None:
    db = emptied
    url = db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    fold_empty_months(db, "ohlcv", Month(2030, 1))
    for point in (*EXCHANGE, *DROP, *FOLD, None):
        stored = july(Dataset.OHLCV)
        fill(db, Dataset.OHLCV, stored, key="1" * 16)
        verified(db, mark=mark_now(db))
        process = processes.Process(target=leave, args=(url, *(BARS.dataset, BARS.month), point))
        process.start()
        process.join(60)
        assert process.exitcode == (-9 if point else 0), point
        process.close()
        rows = held(db, "ohlcv") + sum(twin_mark(db, twin).rows for twin in find_twins(db))
        assert rows == (stored.num_rows if point in EXCHANGE else 0), point
        take_out(db, BARS)
        assert (find_twins(db), held(db, "ohlcv")) == ([], 0), point
        assert BARS.month not in standing_months(db, "ohlcv"), point
