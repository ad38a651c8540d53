"""The books' rows come out of the server as they are, and go into it as they were, on both servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from gapless.domain.row_digest import RowsDigest
from gapless.domain.schema import TIMESTAMP
from gapless.errors import StorageError
from gapless.storage.mysql import MySql
from gapless.storage.mysql.book_rows import BOOKS, arrow_schema, filled_books, read_rows, snapshot, write_rows
from gapless.storage.mysql.books import counter, metadata, restatement
from gapless.storage.mysql.schema import PARTITIONED
from tests.fixtures.mysql import KINDS, Server, fresh_database

T0 = datetime(2026, 11, 20, 1, 2, 3, 456_000, UTC)
SYMBOL = "币安人生/USDT:USDT"

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["", "NULL", "\\N", '"', "''", "a,b\n\r\t\0\x1a", "\\", '"",', " leading and trailing ", "🚀" * 9]),
)
MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
)
IDS = st.integers(0, 2**64 - 1)
BIG = st.integers(-(2**63), 2**63 - 1)
EXACT = st.integers(-(10**38) + 1, 10**38 - 1).map(
    lambda n: Decimal((int(n < 0), tuple(int(digit) for digit in str(abs(n))), -18))
)


def value_of(field: pa.Field) -> st.SearchStrategy[Any]:
    """Any value that the column can hold."""
    kinds = {
        pa.uint64(): IDS,
        pa.int64(): BIG,
        pa.bool_(): st.booleans(),
        pa.date32(): st.dates(date(1000, 1, 1), date(9999, 12, 31)),
        TIMESTAMP: MOMENTS,
        pa.float64(): st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        pa.decimal128(38, 18): EXACT,
    }
    plain = kinds[field.type]
    return st.one_of(st.none(), plain) if field.nullable else plain


# One book for each odd type: unsigned ids and long texts, wide decimals and nullable times, dates, doubles.
ODD = ("restatement", "instrument", "month_export", "archive_series")
TEXT_OF = {"old_values": TEXTS, "new_values": TEXTS}


@st.composite
def odd_rows(draw: st.DrawFn) -> tuple[str, pa.Table]:
    name = draw(st.sampled_from(ODD))
    table = metadata.tables[name]
    schema = arrow_schema(table)
    rows = []
    for number in range(draw(st.integers(1, 5))):
        row: dict[str, Any] = {}
        for field in schema:
            column = table.columns[field.name]
            if name == "restatement" and field.name == "id":
                row[field.name] = number + 1
            elif field.name in TEXT_OF:
                row[field.name] = draw(TEXT_OF[field.name])
            elif pa.types.is_string(field.type):
                row[field.name] = f"{number}" + ("币" if field.name in ("symbol", "base") else "")
            elif name == "restatement" and field.name.endswith("source"):
                row[field.name] = draw(st.integers(-(2**31), 2**31 - 1))
            elif name == "month_export" and field.name in ("round", "files", "written"):
                row[field.name] = draw(st.integers(-(2**31), 2**31 - 1)) if not column.primary_key else number
            else:
                row[field.name] = draw(value_of(field))
        rows.append(row)
    return name, pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, mysql_servers: Callable[[str], Server]) -> Iterator[MySql]:
    with fresh_database(mysql_servers(request.param)) as db:
        yield db


@given(odd=odd_rows(), local=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_odd_values_go_in_and_come_out_exactly(shared: MySql, odd: tuple[str, pa.Table], local: bool) -> None:
    name, rows = odd
    table = metadata.tables[name]
    with shared.engine.connect() as connection, pytest.MonkeyPatch.context() as patch:
        if not local:
            patch.setattr("gapless.storage.mysql.bulk._local_allowed", lambda connection: False)
        write_rows(connection, table, rows)
        found = everything(connection, name)
        connection.rollback()
    order = [(column.name, "ascending") for column in table.primary_key]
    assert found.sort_by(order).equals(rows.sort_by(order))


def everything(connection: Connection, name: str) -> pa.Table:
    table = metadata.tables[name]
    schema = arrow_schema(table)
    return pa.concat_tables([schema.empty_table(), *read_rows(connection, table, schema)])


def test_every_table_but_the_time_series_is_a_book(database: MySql) -> None:
    with database.engine.connect() as connection:
        tables = {str(row[0]) for row in connection.execute(text("SHOW TABLES"))}
        assert {table.name for table in BOOKS} == tables - {str(one) for one in PARTITIONED} - {"alembic_version"}
        for table in BOOKS:
            assert everything(connection, table.name).num_rows == 0


def test_a_snapshot_sees_one_moment_of_all_books(database: MySql) -> None:
    add = "INSERT INTO counter VALUES (:name, '{}', 1)"
    with database.engine.begin() as writer:
        writer.execute(text(add), {"name": "before"})
    with snapshot(database) as connection:
        with database.engine.begin() as writer:
            writer.execute(text(add), {"name": "after"})
            writer.execute(text("INSERT INTO installation VALUES (1, 'replica:1', NOW(3))"))
        assert everything(connection, "counter")["name"].to_pylist() == ["before"]
        assert everything(connection, "installation").num_rows == 0
    with database.engine.connect() as connection:
        level = "tx_isolation" if database.dialect.name == "mariadb" else "transaction_isolation"
        assert connection.scalar(text(f"SELECT @@{level}")) == "READ-COMMITTED"  # the next user's session is as ever
        assert everything(connection, "counter").num_rows == 2


def test_the_next_key_after_written_rows_is_a_new_one(database: MySql) -> None:
    row = dict.fromkeys(restatement.columns.keys()) | {
        "id": 41, "dataset": "ohlcv", "exchange": "binance", "symbol": SYMBOL, "interval": "1m", "ts": T0,
        "store": "lake", "old_values": "{}", "new_values": "{}", "old_source": 1, "new_source": 2, "noticed_at": T0,
        "applied": False,
    }  # fmt: skip
    rows = pa.Table.from_pylist([row], schema=arrow_schema(restatement))
    with database.engine.begin() as connection:
        write_rows(connection, restatement, rows)
        again = ", ".join(f"`{name}`" for name in arrow_schema(restatement).names if name != "id")
        connection.execute(text(f"INSERT INTO restatement ({again}) SELECT {again} FROM restatement"))
        assert [one[0] for one in connection.execute(text("SELECT id FROM restatement ORDER BY id"))] == [41, 42]
        assert filled_books(connection) == ["restatement"]


def test_rows_that_are_there_already_are_refused(mariadb_database: MySql) -> None:
    rows = pa.table({"name": ["a"], "labels": ["{}"], "total": [1]}, schema=arrow_schema(counter))
    with mariadb_database.engine.begin() as connection:
        write_rows(connection, counter, rows)
    other = rows.set_column(2, "total", pa.array([2], pa.int64()))
    with (
        mariadb_database.engine.connect() as connection,
        pytest.raises(StorageError, match="restoring the book counter: 1 of its rows were there already"),
    ):
        write_rows(connection, counter, other)


def test_columns_that_a_book_never_had_are_refused() -> None:
    with pytest.raises(StorageError, match="the book counter has no column colour"):
        arrow_schema(counter, ["name", "colour"])


def test_long_rows_are_written_in_statements_that_any_server_takes(mariadb_database: MySql) -> None:
    payload = "x'\"\n" * 200_000
    schema = arrow_schema(metadata.tables["page"])
    moments = {"created_at": T0, "sent_at": None, "resolved_at": T0 + timedelta(days=1)}
    fixed = {"kind": "gap", "summary": "", "detail": payload, "state": "sent", **moments}
    rows = pa.Table.from_pylist([{"page_key": f"p{n:02}", **fixed} for n in range(20)], schema=schema)
    with mariadb_database.engine.begin() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr("gapless.storage.mysql.bulk._local_allowed", lambda connection: False)
        write_rows(connection, metadata.tables["page"], rows)  # 16 MB in one statement would be refused
        assert everything(connection, "page").equals(rows)


def tell(rows: pa.Table) -> str:
    digest = RowsDigest()
    digest.add(rows)
    return digest.hexdigest


@given(odd=odd_rows(), cuts=st.lists(st.integers(0, 5), max_size=3))
def test_a_digest_does_not_depend_on_how_rows_are_cut(odd: tuple[str, pa.Table], cuts: list[int]) -> None:
    _, rows = odd
    pieces = RowsDigest()
    bounds = [0, *sorted(min(cut, rows.num_rows) for cut in cuts), rows.num_rows]
    for start, end in pairwise(bounds):
        pieces.add(rows.slice(start, end - start))
    assert (pieces.rows, pieces.hexdigest) == (rows.num_rows, tell(rows))


def test_values_that_would_read_alike_have_other_digests() -> None:
    def two(*values: str | None) -> pa.Table:
        return pa.table({"a": pa.array([values[0]], pa.string()), "b": pa.array([values[1]], pa.string())})

    alike = [
        two("ab", "c"),
        two("a", "bc"),
        two("", None),
        two(None, ""),
        two("-", None),
        two("1:a", ""),
        two("a", "1:"),
    ]
    assert len({tell(one) for one in alike}) == len(alike)


def test_a_stored_value_that_is_no_boolean_stops_the_export(mariadb_database: MySql) -> None:
    with mariadb_database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO restatement (dataset, exchange, symbol, `interval`, ts, store, old_values, new_values, "
                "old_source, new_source, noticed_at, applied) VALUES ('ohlcv', 'binance', 'A/B', '1m', NOW(3), 'lake', "
                "'', '', 1, 1, NOW(3), 2)"
            )
        )
        with pytest.raises(StorageError, match=re.escape("`applied` holds what is no bool")):
            everything(connection, "restatement")
