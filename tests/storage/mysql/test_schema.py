"""The schema: made, migrated, and equal to what the queries think it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from gapless.domain.window import to_ms
from gapless.errors import StorageError
from gapless.storage.mysql import Dialect, MySql, UpgradeReport, schema_revision, upgrade
from gapless.storage.mysql.books import metadata
from gapless.storage.mysql.partitions import Month, month_range, read_partitions
from gapless.storage.mysql.sql import statements
from tests.fixtures.mysql import PASSWORD, USER, Server, fresh_database


def shape(db: MySql) -> dict[str, list[tuple[Any, ...]]]:
    """Columns, keys and character sets as the server knows them."""
    columns = (
        "SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLLATION_NAME, "
        "EXTRA FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME <> 'ohlcv' "
        "AND TABLE_NAME <> 'alembic_version' ORDER BY TABLE_NAME, ORDINAL_POSITION"
    )
    keys = (
        "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE FROM information_schema.STATISTICS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME <> 'ohlcv' AND TABLE_NAME <> 'alembic_version' "
        "ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
    )
    tables = (
        "SELECT TABLE_NAME, ENGINE, TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
        "AND TABLE_NAME <> 'ohlcv' AND TABLE_NAME <> 'alembic_version' ORDER BY TABLE_NAME"
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
    assert report.revision == schema_revision(empty_database) == "0001"
    assert set(report.tables) == {*metadata.tables, "ohlcv"}
    assert report.notes == ()
    with empty_database.engine.connect() as connection:
        now = connection.scalar(text("SELECT UTC_TIMESTAMP()"))
        names = [part.name for part in read_partitions(connection, "ohlcv")]
    this = Month.of_ms(to_ms(now))
    assert names == ["p_before", *(m.partition for m in month_range(this.plus(-1), this.plus(2))), "pmax"]


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
    assert set(upgrade(empty_database).tables) == {*metadata.tables, "ohlcv"}


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
    found = [*statements("0001_ohlcv"), *statements("0001_books")]
    assert len(found) == len(metadata.tables) + 1
    assert all(
        statement.startswith("CREATE TABLE IF NOT EXISTS ") and not statement.endswith(";") for statement in found
    )


def test_the_user_of_the_tests_has_rights_on_its_own_databases_only(mysql_servers: Callable[[str], Server]) -> None:
    server = mysql_servers("mariadb")
    with fresh_database(server, schema=False) as db, db.engine.connect() as connection:
        grants = [str(row[0]) for row in connection.execute(text("SHOW GRANTS"))]
    assert any(grant.startswith("GRANT USAGE ON *.*") and USER in grant for grant in grants)
    assert not any(PASSWORD in grant for grant in grants)
