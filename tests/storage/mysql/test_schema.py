"""The schema: made, migrated, and equal to what the queries think it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.window import to_ms
from gapless.errors import StorageError
from gapless.storage.mysql import Dialect, MySql
from gapless.storage.mysql.books import metadata
from gapless.storage.mysql.partitions import Month, month_range, read_partitions
from gapless.storage.mysql.schema import PARTITIONED, UpgradeReport, schema_revision, upgrade
from gapless.storage.mysql.sql import statements
from tests.fixtures.mysql import PASSWORD, USER, Server, fresh_database

BOOKS = "TABLE_NAME NOT IN ('ohlcv', 'funding_rate', 'futures_metrics', 'alembic_version')"


def shape(db: MySql) -> dict[str, list[tuple[Any, ...]]]:
    """Columns, keys and character sets as the server knows them."""
    columns = (
        "SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLLATION_NAME, "
        "EXTRA FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
        f"AND {BOOKS} ORDER BY TABLE_NAME, ORDINAL_POSITION"
    )
    keys = (
        "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE FROM information_schema.STATISTICS "
        f"WHERE TABLE_SCHEMA = DATABASE() AND {BOOKS} "
        "ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
    )
    tables = (
        "SELECT TABLE_NAME, ENGINE, TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
        f"AND {BOOKS} ORDER BY TABLE_NAME"
    )
    with db.engine.connect() as connection:
        found = {"columns": columns, "keys": keys, "tables": tables}
        return {name: [tuple(row) for row in connection.execute(text(sql))] for name, sql in found.items()}


def test_the_migrated_schema_is_what_the_queries_think_it_is(database: MySql, sql_server: Server) -> None:
    with fresh_database(sql_server, schema=False) as defined:
        metadata.create_all(defined.engine)
        expected = shape(defined)
    found = shape(database)
    assert found["columns"] == expected["columns"]
    assert found["keys"] == expected["keys"]
    assert found["tables"] == expected["tables"]


def test_bars_have_the_contracts_columns_and_key(database: MySql) -> None:
    with database.engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, IS_NULLABLE FROM information_schema.COLUMNS "
                "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'ohlcv' ORDER BY ORDINAL_POSITION"
            )
        ).all()
        key = connection.scalars(
            text(
                "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() "
                "AND TABLE_NAME = 'ohlcv' AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
            )
        ).all()
    types = {name: kind.replace("int(10)", "int").replace("tinyint(3)", "tinyint") for name, kind, _, _ in columns}
    price, volume = "decimal(20,8)", "decimal(28,8)"
    assert {name: kind.replace("bigint(20)", "bigint") for name, kind in types.items()} == {
        "symbol": "varchar(32)",
        "interval": "enum('1m','5m','15m','1h','4h','1d')",
        "ts": "datetime",
        "exchange": "varchar(16)",
        **dict.fromkeys(("open", "high", "low", "close"), price),
        **dict.fromkeys(("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), volume),
        "trades": "int unsigned",
        "source": "tinyint unsigned",
        "receipt_id": "bigint unsigned",
    }
    collations = {name: collation for name, _, collation, _ in columns if collation}
    assert (collations["symbol"], collations["exchange"]) == ("utf8mb4_bin", "ascii_bin")
    assert {nullable for *_, nullable in columns} == {"NO"}
    assert list(key) == ["symbol", "interval", "ts", "exchange"]


def test_an_upgrade_reports_and_makes_months_ahead(empty_database: MySql) -> None:
    assert schema_revision(empty_database) is None
    report = upgrade(empty_database)
    assert report.revision == schema_revision(empty_database) == "0005"
    assert set(report.tables) == {*metadata.tables, *PARTITIONED}
    assert report.notes == ()
    with empty_database.engine.connect() as connection:
        now = connection.scalar(text("SELECT UTC_TIMESTAMP()"))
        names = {table: [part.name for part in read_partitions(connection, table)] for table in PARTITIONED}
    this = Month.of_ms(to_ms(now))
    months = [month.partition for month in month_range(this.plus(-1), this.plus(2))]
    assert names == {table: ["p_before", *months, "pmax"] for table in Dataset}


def test_an_upgrade_can_be_repeated_and_done_by_two_at_once(empty_database: MySql) -> None:
    reports: list[UpgradeReport] = []
    threads = [threading.Thread(target=lambda: reports.append(upgrade(empty_database))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(reports) == 3
    assert upgrade(empty_database) == reports[0] == reports[1] == reports[2]


def test_an_upgrade_that_was_killed_halfway_is_completed(empty_database: MySql) -> None:
    with empty_database.engine.begin() as connection:
        connection.execute(text(next(statements("0001_ohlcv"))))
        connection.execute(text(next(statements("0001_books"))))
    assert set(upgrade(empty_database).tables) == {*metadata.tables, *PARTITIONED}


def revision_one(db: MySql) -> None:
    """The schema as the first release left it."""
    with db.engine.begin() as connection:
        for name in ("0001_ohlcv", "0001_books"):
            for statement in statements(name):
                connection.execute(text(statement))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0001')"))


OLD_ROWS = (
    "INSERT INTO restatement (dataset, exchange, symbol, `interval`, ts, store, old_values, new_values, old_source, "
    "new_source, noticed_at) "
    "VALUES ('ohlcv', 'binance', '币安/USDT', '1m', '2026-11-19 10:00', 'mysql', '{}', '{}', 1, 1, '2026-11-20')",
    "INSERT INTO data_gap_log (exchange, symbol, dataset, `interval`, gap_start, gap_end, bars, attempts, state, "
    "cause, noticed_at, changed_at) VALUES ('binance', 'A/USDT', 'ohlcv', '1m', '2026-11-19', '2026-11-20', 1440, 3, "
    "'failed', '', '2026-11-20', '2026-11-20')",
)


LATER = ("0002_books", "0002_series", "0002_restatement", "0003_books", "0003_gap_log", "0004_books", "0005_books")


@pytest.mark.parametrize("killed_after", [None, *LATER])
def test_an_upgrade_from_the_first_schema_keeps_its_rows(
    empty_database: MySql, sql_server: Server, killed_after: str | None
) -> None:
    revision_one(empty_database)
    with empty_database.engine.begin() as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        for name in LATER if killed_after else ():
            for statement in statements(name):
                connection.execute(text(statement))
            if name == killed_after:
                break
    assert upgrade(empty_database).revision == "0005"
    with fresh_database(sql_server) as new:
        assert shape(empty_database) == shape(new)
    with empty_database.engine.connect() as connection:
        assert connection.execute(text("SELECT symbol, applied FROM restatement")).all() == [("币安/USDT", 1)]
        assert connection.execute(text("SELECT attempts, state FROM data_gap_log")).all() == [(3, "failed")]


@pytest.mark.parametrize("dataset", [Dataset.FUNDING, Dataset.METRICS])
def test_series_tables_hold_what_their_shape_says(database: MySql, dataset: Dataset) -> None:
    shape = SHAPES[dataset]
    with database.engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, IS_NULLABLE, DATETIME_PRECISION "
                "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :table"
            ),
            {"table": dataset},
        ).all()
        key = connection.scalars(
            text(
                "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() "
                "AND TABLE_NAME = :table AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
            ),
            {"table": dataset},
        ).all()
    found = {name: (kind, precision, scale) for name, kind, precision, scale, _, _ in columns}
    assert set(found) == {*shape.schema.names, "receipt_id"}
    decimals = {field.name: field.type for field in shape.schema if pa.types.is_decimal(field.type)}
    assert {name: found[name] for name in decimals} == {
        name: ("decimal", kind.precision, kind.scale) for name, kind in decimals.items()
    }
    assert {name for name, *_, nullable, _ in columns if nullable == "YES"} == shape.nullable
    times = {name: fraction for name, kind, *_, fraction in columns if kind == "datetime"}
    assert times == {"ts": 0} | ({"exchange_ts": 3} if dataset is Dataset.FUNDING else {})
    assert (key[:3], set(key)) == (["symbol", "ts", "exchange"], set(shape.key))


def test_a_schema_newer_than_the_program_is_refused(database: MySql) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match=r"at revision 9999, which .* does not know; update Gapless"):
        upgrade(database)


def test_a_server_that_is_too_old_is_refused(empty_database: MySql) -> None:
    empty_database.__dict__["dialect"] = Dialect("mysql", (5, 7, 44))
    with pytest.raises(StorageError, match=r"MySQL 5.7.44 is too old; use MariaDB 10.11\+ or MySQL 8.4\+"):
        upgrade(empty_database)


def test_rights_that_the_user_lacks_are_noted(sql_server: Server, database: MySql) -> None:
    name, reader = database.database, f"r{database.database[:20]}"
    sql_server.execute(
        f"CREATE USER '{reader}'@'127.0.0.1' IDENTIFIED BY 'secret'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO '{reader}'@'127.0.0.1'",
    )
    try:
        limited = MySql(f"mysql://{reader}:secret@127.0.0.1:{sql_server.port}/{name}")
        [note] = upgrade(limited).notes
        assert note.startswith("the user lacks CREATE, DROP, ALTER, INDEX on this database")
        limited.close()
    finally:
        sql_server.execute(f"DROP USER '{reader}'@'127.0.0.1'")


def test_every_statement_of_the_schema_is_found_whole() -> None:
    files = ("0001_ohlcv", "0001_books", "0002_books", "0002_series", "0003_books", "0004_books", "0005_books")
    found = [statement for name in files for statement in statements(name)]
    assert len(found) == len(metadata.tables) + len(PARTITIONED)
    assert all(
        statement.startswith("CREATE TABLE IF NOT EXISTS ") and not statement.endswith(";") for statement in found
    )


def test_the_user_of_the_tests_has_rights_on_its_own_databases_only(mysql_servers: Callable[[str], Server]) -> None:
    server = mysql_servers("mariadb")
    with fresh_database(server, schema=False) as db, db.engine.connect() as connection:
        grants = [str(row[0]) for row in connection.execute(text("SHOW GRANTS"))]
    assert any(grant.startswith("GRANT USAGE ON *.*") and USER in grant for grant in grants)
    assert not any(PASSWORD in grant for grant in grants)
