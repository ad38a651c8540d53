"""Columns into a table: exact, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from gapless.errors import StorageError
from gapless.storage.mysql import MySql, bulk
from gapless.storage.mysql.bulk import Sent, replace_rows
from gapless.storage.mysql.faults import RetryPolicy, retrying

TABLE = """CREATE TABLE plain (
  name VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, n INT UNSIGNED NOT NULL,
  price DECIMAL(20, 8) NOT NULL, at DATETIME NOT NULL, fixed VARCHAR(20) NOT NULL, PRIMARY KEY (n))"""


def rows_of(*rows: tuple[str, int, str], scale: int = 8) -> pa.Table:
    return pa.table(
        {
            "name": pa.array([row[0] for row in rows], pa.string()),
            "n": pa.array([row[1] for row in rows], pa.uint32()),
            "price": pa.array([Decimal(row[2]) for row in rows], pa.decimal128(38, scale)),
            "at": pa.array([1_700_000_000_000 + row[1] * 1000 for row in rows], pa.timestamp("ms", tz="UTC")),
        }
    )


@pytest.fixture(params=["local infile", "values"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in must do the same."""
    if request.param == "values":
        monkeypatch.setattr(bulk, "_local_allowed", lambda connection: False)
    return str(request.param)


@pytest.fixture
def table(empty_database: MySql, way: str) -> Iterator[Connection]:
    with empty_database.engine.connect() as connection:
        connection.execute(text(TABLE))
        connection.commit()
        yield connection


def send(connection: Connection, rows: pa.Table) -> Sent:
    return replace_rows(connection, "plain", rows, {"fixed": 'it\'s {a} "b"'}, "loading X 1m")


def stored(connection: Connection) -> list[tuple[str, int, str, str]]:
    rows = connection.execute(
        text("SELECT name, n, CAST(price AS CHAR), CAST(at AS CHAR), fixed FROM plain ORDER BY n")
    )
    return [tuple(row) for row in rows]


def open_files() -> set[str]:
    return {str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}


def test_values_arrive_to_the_last_digit(table: Connection) -> None:
    prices = ["0.00000001", "100", "0", "999999999999.99999999", "-0.00000001", "0.10000000", "123456789012.00000001"]
    rows = rows_of(*[("BTC/USDT", n, price) for n, price in enumerate(prices)])
    assert send(table, rows) == Sent(len(prices), 0)
    for (_, n, price, at, fixed), expected in zip(stored(table), prices, strict=True):
        assert price == f"{Decimal(expected):.8f}"
        assert at.startswith(f"2023-11-14 22:13:2{n}")  # fewer than ten rows
        assert fixed == 'it\'s {a} "b"'


@pytest.mark.parametrize("scale", range(15))
def test_a_line_says_exactly_the_value_whatever_its_scale(scale: int) -> None:
    units = [0, 1, 10, 15, 100, 1_000_000, 10**scale, 10 ** (scale + 3), 123_450_000, -10]
    values = [Decimal(unit).scaleb(-scale) for unit in units]
    lines = bulk.csv_lines(pa.table({"price": pa.array(values, pa.decimal128(38, scale))}))
    assert [Decimal(line) for line in lines.to_pybytes().decode().splitlines()] == values


def test_any_text_travels_whole(table: Connection) -> None:
    names = ['a"b', "a,b", "a\\b", "a\nb", "a\r\nb", "'", "\\", '"', '""', "\\N", "NULL", ""]
    names += ["币安人生", "🚀", "\t", "%s%%", "{x}"]
    send(table, rows_of(*[(name, n, "1") for n, name in enumerate(names)]))
    assert [row[0] for row in stored(table)] == names


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), min_size=1, max_size=20
    )
)
def test_any_texts_travel_whole(table: Connection, names: list[str]) -> None:
    table.execute(text("DELETE FROM plain"))
    send(table, rows_of(*[(name, n, "1") for n, name in enumerate(names)]))
    assert [row[0] for row in stored(table)] == names


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (rows_of(("x", 1, "0.000000001"), scale=9), "price"),  # rounded: a mere note to the server
        (rows_of(("x", 1, "1234567890123")), "price"),  # out of range
        (rows_of(("x" * 41, 1, "1")), "name"),  # too long
    ],
    ids=["rounded", "out of range", "too long"],
)
def test_what_the_column_cannot_hold_exactly_stops_the_load(table: Connection, rows: pa.Table, says: str) -> None:
    patience = RetryPolicy(total_s=0)
    with pytest.raises(StorageError, match=f"loading X 1m: .*{says}"):
        retrying(lambda: send(table, rows), what="loading X 1m", server="here", policy=patience)
    table.rollback()
    assert stored(table) == []


def test_replaced_rows_are_counted_over_many_pieces(table: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 7)
    monkeypatch.setattr(bulk, "_VALUES_ROWS", 7)
    send(table, rows_of(*[("old", n, "1") for n in range(0, 50, 2)]))
    assert send(table, rows_of(*[("new", n, "2") for n in range(50)])) == Sent(50, 25)
    assert {row[0] for row in stored(table)} == {"new"}
    assert send(table, rows_of(("one", 3, "1"))) == Sent(1, 1)
    assert send(table, rows_of(("one", 99, "1"))) == Sent(1, 0)


def test_no_file_is_left_open_or_lying_about(
    table: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 5)
    monkeypatch.setattr(bulk.tempfile, "tempdir", str(tmp_path))
    for memory in (True, False):
        if not memory:
            monkeypatch.delattr(os, "memfd_create")
        before = open_files()
        send(table, rows_of(*[("x", n, "1") for n in range(12)]))
        bad = rows_of(*[("x", n, "0.000000001") for n in range(12)], scale=9)
        with contextlib.suppress(StorageError):
            send(table, bad)
        assert open_files() - before == set()
        assert list(tmp_path.iterdir()) == []


def test_nothing_to_send_is_nothing_sent(table: Connection) -> None:
    assert send(table, rows_of()) == Sent(0, 0)
