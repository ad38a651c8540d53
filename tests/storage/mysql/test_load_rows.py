"""Funding and metrics take the bars' path: exact, idempotent, nulls filled in, every change on record."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.datasets import SHAPES, Dataset, empty
from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import Window
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql import (
    MySql,
    bulk,
    count_outranked,
    count_restatements,
    load_coverage,
    load_rows,
    loader,
    read_rows,
)
from tests.storage.mysql.bars import DAY, HOUR, draft_for, make_bars
from tests.storage.mysql.rows import NOVEMBER, draft_of, make_rows, with_cell

BTC, CHINESE = "BTC/USDT:USDT", "币安人生/USDT:USDT"
BOTH = pytest.mark.parametrize("dataset", [Dataset.FUNDING, Dataset.METRICS])
FUNDING = SHAPES[Dataset.FUNDING]


def load(db: MySql, dataset: Dataset, rows: pa.Table, key: str = "0123456789abcdef") -> loader.Outcome:
    return load_rows(db, SHAPES[dataset], rows, draft_of(rows, dataset, key=key))


def read(db: MySql, dataset: Dataset, symbols: tuple[str, ...] = (BTC, CHINESE), window: Window = NOVEMBER) -> pa.Table:
    return read_rows(db, dataset, "binance", symbols, window)


def noted(db: MySql) -> list[tuple[Any, ...]]:
    statement = (
        "SELECT dataset, symbol, `interval`, applied, old_values, new_values, old_source, new_source FROM restatement "
        "ORDER BY id"
    )
    with db.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


@pytest.fixture(params=["local infile", "values"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "values":
        monkeypatch.setattr(bulk, "_local_allowed", lambda connection: False)


@BOTH
@pytest.mark.usefixtures("way")
def test_rows_come_back_as_they_went_in(database: MySql, dataset: Dataset) -> None:
    rows = make_rows(dataset, [BTC, CHINESE])
    for place, name in enumerate(sorted(SHAPES[dataset].nullable)):
        rows = with_cell(with_cell(rows, place, name, None), 3, name, None)
    outcome = load(database, dataset, rows)
    assert outcome.counts.loaded == rows.num_rows
    assert read(database, dataset).equals(rows)
    again = load(database, dataset, rows)
    assert (again.added, again.filled, again.counts.unchanged) == (False, 0, rows.num_rows)
    assert noted(database) == []
    assert read(database, dataset, (CHINESE,)).num_rows == rows.num_rows // 2
    first = Window(NOVEMBER.start_ms, NOVEMBER.start_ms + 1)
    assert read(database, dataset, window=first).num_rows == 2
    assert read(database, dataset, ()).equals(empty(dataset))


def test_numbers_at_the_ends_of_their_columns_are_exact(database: MySql) -> None:
    rows = make_rows(Dataset.METRICS, [BTC])
    rows = with_cell(rows, 0, "open_interest", Decimal("999999999999999999999999.99999999999999"))
    rows = with_cell(rows, 1, "open_interest_value", Decimal("1E-14"))
    rows = with_cell(rows, 2, "taker_buy_sell_ratio", Decimal("99999999999999.9999999999"))
    load(database, Dataset.METRICS, rows)
    assert read(database, Dataset.METRICS).equals(rows)
    funding = make_rows(Dataset.FUNDING, [BTC])
    funding = with_cell(with_cell(funding, 0, "rate", Decimal("-1E-12")), 1, "rate", Decimal("99999999.999999999999"))
    load(database, Dataset.FUNDING, funding, "b" * 16)
    assert read(database, Dataset.FUNDING).equals(funding)


def test_what_archive_and_rest_know_of_a_settlement_is_one_row_whichever_comes_first(database: MySql) -> None:
    """The archive says the interval and no mark price, REST the other way round: no disagreement."""
    archive = make_rows(Dataset.FUNDING, [BTC, CHINESE], blanks=["mark_price"])
    rest = make_rows(Dataset.FUNDING, [BTC, CHINESE], source=Source.REST, blanks=["interval_hours"])
    names = [name for name in archive.schema.names if name not in ("mark_price", "source")]
    whole = make_rows(Dataset.FUNDING, [BTC, CHINESE], source=Source.REST)
    for name in ("rate", "mark_price"):
        place = whole.schema.get_field_index(name)
        whole = whole.set_column(place, whole.schema.field(name), rest[name])
    place = archive.schema.get_field_index("rate")
    archive = archive.set_column(place, archive.schema.field("rate"), rest["rate"])
    for first, second in ((archive, rest), (rest, archive)):
        with database.engine.begin() as connection:
            connection.execute(text("DELETE FROM funding_rate"))
            connection.execute(text("DELETE FROM load_receipt"))
        load(database, Dataset.FUNDING, first, "a" * 16)
        outcome = load(database, Dataset.FUNDING, second, "b" * 16)
        assert (outcome.filled, outcome.counts.unchanged, outcome.counts.restated) == (12, 12, 0)
        assert read(database, Dataset.FUNDING).equals(whole)
        for again in (first, second):
            assert load(database, Dataset.FUNDING, again, "b" * 16).filled == 0
        assert read(database, Dataset.FUNDING).equals(whole)
    assert whole.select(names).equals(archive.select(names))
    assert noted(database) == []


@BOTH
def test_a_null_never_takes_a_values_place(database: MySql, dataset: Dataset) -> None:
    rows = make_rows(dataset, [BTC], source=Source.VISION)
    load(database, dataset, rows)
    blank = make_rows(dataset, [BTC], source=Source.REST, blanks=sorted(SHAPES[dataset].nullable))
    outcome = load(database, dataset, blank, "b" * 16)
    assert (outcome.counts.unchanged, outcome.counts.restated, outcome.filled) == (rows.num_rows, 0, 0)
    place = rows.schema.get_field_index("source")  # but that the better source confirmed the rest is kept
    assert read(database, dataset).equals(rows.set_column(place, rows.schema.field("source"), blank["source"]))


def test_a_changed_rate_is_a_restatement_that_keeps_what_the_newer_source_lacks(database: MySql) -> None:
    archive = make_rows(Dataset.FUNDING, [BTC], blanks=["mark_price"])
    load(database, Dataset.FUNDING, archive)
    rest = with_cell(archive, 2, "rate", Decimal("0.000100000001"))
    rest = with_cell(rest, 2, "interval_hours", None)
    rest = with_cell(with_cell(rest, 2, "mark_price", Decimal("1.5")), 2, "source", int(Source.REST))
    outcome = load(database, Dataset.FUNDING, rest, "b" * 16)
    assert (outcome.counts.restated, outcome.counts.unchanged, outcome.filled) == (1, 5, 0)
    assert read(database, Dataset.FUNDING).equals(with_cell(rest, 2, "interval_hours", 8))
    [(dataset, symbol, label, applied, old, new, *sources)] = noted(database)
    assert (dataset, symbol, label, applied) == ("funding_rate", BTC, "Regular", 1)
    assert sources == [int(Source.VISION), int(Source.REST)]
    assert json.loads(old)["mark_price"] is None
    late = int(archive["exchange_ts"][2].as_py().timestamp() * 1000)
    assert json.loads(new) == {
        "exchange_ts": str(late),
        "rate": "0.000100000001",
        "interval_hours": "8",
        "mark_price": "1.50000000",
    }
    assert late % 1000 == 7


def test_a_refused_row_fills_in_what_nobody_knew_and_is_noted_once(database: MySql) -> None:
    rest = make_rows(Dataset.FUNDING, [BTC], source=Source.REST, blanks=["interval_hours"])
    load(database, Dataset.FUNDING, rest)
    archive = with_cell(with_cell(rest, 1, "rate", Decimal("0.5")), 1, "source", int(Source.VISION))
    archive = with_cell(with_cell(archive, 1, "mark_price", None), 1, "interval_hours", 4)
    outcome = load(database, Dataset.FUNDING, archive, "b" * 16)
    assert (outcome.counts.outranked, outcome.counts.unchanged, outcome.filled) == (1, 5, 1)
    assert read(database, Dataset.FUNDING).equals(with_cell(rest, 1, "interval_hours", 4))
    assert not load(database, Dataset.FUNDING, archive, "b" * 16).added
    assert (count_restatements(database), count_outranked(database)) == ({}, {"mysql": 1})
    [row] = noted(database)
    assert (row[3], json.loads(row[5])["rate"], row[6:]) == (
        0,
        "0.500000000000",
        (int(Source.REST), int(Source.VISION)),
    )


def test_a_special_settlement_at_the_same_moment_is_another_row(database: MySql) -> None:
    regular = make_rows(Dataset.FUNDING, [BTC])
    special = regular.set_column(2, regular.schema.field("rate_type"), pa.repeat("Special", regular.num_rows))
    rows = pa.concat_tables([regular, special])
    load(database, Dataset.FUNDING, rows)
    assert read(database, Dataset.FUNDING).equals(rows)
    changed = with_cell(rows, 8, "rate", Decimal("0.5"))
    assert load(database, Dataset.FUNDING, changed, "b" * 16).counts.restated == 1
    assert [row[2] for row in noted(database)] == ["Special"]


def test_a_histories_receipt_counts_for_no_hourly_window(database: MySql) -> None:
    rows = make_rows(Dataset.METRICS, [BTC])
    load(database, Dataset.METRICS, rows)
    bars = make_bars([BTC], HOUR)
    draft = draft_for(bars, HOUR)
    loader.load_bars(database, bars, loader.Draft(**{**_fields(draft), "dataset": "history:ohlcv"}))
    assert load_coverage(database, "binance", Market.UM, DAY) == []
    [history] = load_coverage(database, "binance", Market.UM, DAY, dataset="history:ohlcv")
    assert (history.window, history.intervals) == (HOUR, {"1m"})
    [metrics] = load_coverage(database, "binance", Market.UM, NOVEMBER, dataset="history:futures_metrics")
    assert (metrics.symbols, metrics.intervals) == ({BTC}, {""})


def _fields(draft: loader.Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in loader.Draft.__dataclass_fields__}


@pytest.mark.parametrize(
    ("dataset", "name", "value", "message"),
    [
        (Dataset.FUNDING, "rate", None, "null values in rate"),
        (Dataset.FUNDING, "rate_type", "R" * 17, "not a rate_type of at most 16 ASCII characters"),
        (Dataset.FUNDING, "rate_type", "", "not a rate_type"),
        (Dataset.FUNDING, "ts", datetime(2026, 11, 1, tzinfo=UTC) + timedelta(milliseconds=7), "a whole second"),
        (Dataset.METRICS, "ts", datetime(2026, 11, 1, 0, 5, tzinfo=UTC), "2026-11-01T00:05:00Z comes twice"),
        (Dataset.METRICS, "source", 9, "unknown source code 9"),
    ],
)
def test_what_the_table_cannot_hold_is_refused_early(
    mariadb_database: MySql, dataset: Dataset, name: str, value: object, message: str
) -> None:
    rows = with_cell(make_rows(dataset, [BTC]), 0, name, value)
    with pytest.raises(ValidationError, match=message):
        load(mariadb_database, dataset, rows)


def test_bars_are_no_funding(mariadb_database: MySql) -> None:
    bars = make_bars([BTC], HOUR)
    with pytest.raises(ValidationError, match="do not have the canonical columns exchange, symbol, rate_type"):
        load_rows(mariadb_database, FUNDING, bars, draft_for(bars))


def _load_and_die(url: str, point: str) -> None:
    """The body of a process: load, and die just after one step of it."""
    step = getattr(loader, point)

    def dying(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(loader, point, dying)
    rows = _second_reading()
    load_rows(MySql(url), FUNDING, rows, draft_of(rows, Dataset.FUNDING, key="b" * 16))


def _second_reading() -> pa.Table:
    rows = make_rows(Dataset.FUNDING, [BTC, CHINESE], source=Source.REST, blanks=["interval_hours"])
    return with_cell(rows, 3, "rate", Decimal("0.5"))


def _contents(db: MySql) -> list[list[tuple[Any, ...]]]:
    statements = (
        "SELECT * FROM funding_rate ORDER BY symbol, ts",
        "SELECT symbol, ts, old_values, new_values, applied, receipt_id FROM restatement ORDER BY symbol, ts",
        "SELECT id, `rows`, loaded, restated, `unchanged`, digest FROM load_receipt ORDER BY id",
    )
    with db.engine.connect() as connection:
        return [[tuple(row) for row in connection.execute(text(statement))] for statement in statements]


@pytest.mark.parametrize("point", ["read_stored", "put_restatements", "replace_rows", "put_receipt"])
def test_killed_at_any_step_and_done_again_equals_undisturbed(database: MySql, point: str) -> None:
    first = make_rows(Dataset.FUNDING, [BTC, CHINESE], blanks=["mark_price"])
    load(database, Dataset.FUNDING, first, "a" * 16)
    before = _contents(database)
    url = database.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    process = multiprocessing.get_context("forkserver").Process(target=_load_and_die, args=(url, point))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with database.named_locks([f"batch:{'b' * 16}"], timeout_s=30):  # free as soon as the server notices the death
        assert _contents(database) == before
    load(database, Dataset.FUNDING, _second_reading(), "b" * 16)
    after = _contents(database)
    with database.engine.begin() as connection:
        for table in ("funding_rate", "restatement", "load_receipt"):
            connection.execute(text(f"DELETE FROM {table}"))
    load(database, Dataset.FUNDING, first, "a" * 16)
    load(database, Dataset.FUNDING, _second_reading(), "b" * 16)
    assert _contents(database) == after


@BOTH
def test_two_at_once_leave_what_one_leaves(database: MySql, dataset: Dataset) -> None:
    rows = make_rows(dataset, [BTC, CHINESE])
    failed: list[BaseException] = []

    def run() -> None:
        try:
            load(database, dataset, rows)
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert read(database, dataset).equals(rows)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM load_receipt")) == 1
    assert noted(database) == []
