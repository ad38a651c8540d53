"""The books leave for the lake and come back: exactly, or not at all."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.config import Settings, load_settings
from gapless.domain.instrument import Market
from gapless.domain.window import HOUR_MS, Window, from_ms, iso
from gapless.errors import ConfigError, NotFound, OriginMismatch, StorageError
from gapless.pipeline.books import export_books, list_books, restore_books
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import book_zone as zone
from gapless.storage.lake.objects import Damaged
from gapless.storage.mysql import MySql, claim_origin, load_coverage
from gapless.storage.mysql.book_rows import BOOKS, arrow_schema, read_rows, write_rows
from gapless.storage.mysql.books import metadata
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.rewriting import unfinished_objects
from tests.fixtures.forks import Forked
from tests.fixtures.mysql import KINDS, Server, fresh_database
from tests.fixtures.replica import ReplicaHandle
from tests.fixtures.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.pipeline.conftest import NOON, MakeInstallation, mysql_url

NOW = datetime(2026, 11, 20, 0, 15, 0, 123_000)  # noqa: DTZ001 - as the books keep times
COIN = "币安人生/USDT:USDT"


@dataclass
class House:
    """Settings and a database without an exchange: books need none."""

    settings: Settings
    db: MySql
    said: list[str] = field(default_factory=list)

    def open(self) -> AbstractContextManager[Runtime]:
        return Runtime.open(self.settings, say=self.said.append)

    def books(self) -> dict[str, pa.Table]:
        """All rows of all books."""
        with self.db.engine.connect() as connection:
            return {
                table.name: pa.concat_tables(
                    [arrow_schema(table).empty_table(), *read_rows(connection, table, arrow_schema(table))]
                )
                for table in BOOKS
            }

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        with self.db.engine.begin() as connection:
            found = [connection.execute(text(statement)) for statement in statements][-1]
            return [tuple(row) for row in found] if found.returns_rows else []

    @property
    def environment(self) -> dict[str, str]:
        assert self.settings.mysql_url is not None
        given = {
            "MYSQL_URL": self.settings.mysql_url.get_secret_value(),
            "LAKE_URI": self.settings.lake,
            "VAR_DIR": str(self.settings.var_dir),
        }
        return {"PATH": "/usr/bin:/bin"} | {f"GAPLESS_{name}": value for name, value in given.items()}

    def start(self, *arguments: str) -> subprocess.Popen[Any]:
        words = [sys.executable, "-m", "gapless", *arguments]
        return Forked(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def command(self, *arguments: str) -> tuple[int, Any, str]:
        with self.start(*arguments, "--json") as process:
            out, errors = process.communicate(timeout=120)
        return process.returncode, json.loads(out or "null"), errors


MakeHouse = Callable[..., House]


@pytest.fixture
def make_house(tmp_path: Path, mysql_servers: Callable[[str], Server], request: pytest.FixtureRequest) -> MakeHouse:
    """A factory of houses that share a lake: `make_house("mysql")`; with `s3` the lake lies there."""

    def make(kind: str = "mariadb", *, s3: S3Server | None = None) -> House:
        database = fresh_database(mysql_servers(kind))
        db = database.__enter__()
        request.addfinalizer(lambda: database.__exit__(None, None, None))
        lake: dict[str, Any] = {"lake_uri": f"file://{tmp_path}/lake"}
        if s3 is not None:
            lake = {
                "lake_uri": f"s3://{BUCKET}/{tmp_path.parent.name}-{tmp_path.name}",
                "s3_endpoint_url": s3.endpoint,
                "aws_access_key_id": ACCESS_KEY,
                "aws_secret_access_key": SECRET_KEY,
                "aws_region": "us-east-1",
            }
        home = tmp_path / f"var-{db.database}"
        return House(load_settings(mysql_url=mysql_url(db), var_dir=home, **lake), db)

    return make


def one_row(name: str, number: int = 1) -> dict[str, Any]:
    """A row of a book, every column filled."""
    table = metadata.tables[name]
    row: dict[str, Any] = {}
    for entry in arrow_schema(table):
        if pa.types.is_string(entry.type):
            row[entry.name] = COIN if entry.name == "symbol" else f"{number}"
        elif pa.types.is_timestamp(entry.type):
            row[entry.name] = NOW + timedelta(minutes=number)
        elif pa.types.is_date32(entry.type):
            row[entry.name] = date(2026, 10, 1) + timedelta(days=number)
        elif pa.types.is_decimal(entry.type):
            row[entry.name] = None if entry.nullable else Decimal(number)
        elif pa.types.is_boolean(entry.type):
            row[entry.name] = bool(number % 2)
        else:
            row[entry.name] = number
    return row


def fill(house: House, origin: str = "replica:7") -> None:
    """Every book with a few rows, and texts that are hard on a way through CSV."""
    claim_origin(house.db, origin)
    with house.db.engine.begin() as connection:
        for table in BOOKS:
            if table.name == "installation":
                continue
            rows = [one_row(table.name, number) for number in (1, 2)]
            if table.name == "quarantine":
                rows[0]["payload"], rows[1]["payload"] = 'NULL,"\n\\N\0🚀', "NULL"
            write_rows(connection, table, pa.Table.from_pylist(rows, schema=arrow_schema(table)))


def ledger_rows(count: int) -> pa.Table:
    """What the lake holds of one series, day by day: the book that grows for ever."""
    days = [date(2026, 11, 19) - timedelta(days=number) for number in range(count)]
    fixed = {"dataset": "ohlcv", "exchange": "binance", "symbol": COIN, "interval": "1m", "rows": 1440}
    rows = [fixed | {"day": day, "sha256": f"{day:%Y%m%d}" * 8, "archive_receipt_id": 2**63 + 5} for day in days]
    return pa.Table.from_pylist(rows[::-1], schema=arrow_schema(metadata.tables["archive_series"]))


def test_every_book_comes_back_exactly_into_the_other_server_over_s3(
    make_house: MakeHouse, s3_server: S3Server
) -> None:
    one, other = make_house("mariadb", s3=s3_server), make_house("mysql", s3=s3_server)
    fill(one)
    before = one.books()
    with one.open() as rt:
        receipt = export_books(rt)
        assert [each.stamp for each in list_books(rt.lake.store)] == [receipt.stamp]
    assert receipt.tables == len(BOOKS) == len([name for name, rows in before.items() if rows.num_rows])
    assert (receipt.rows, receipt.origin) == (2 * len(BOOKS) - 1, "replica:7")
    assert receipt.uri.endswith(f"/books/{receipt.stamp}/manifest.json")
    with other.open() as rt:
        dry = restore_books(rt, dry_run=True)
        assert (dry.dry_run, dry.rows, other.books()["counter"].num_rows) == (True, receipt.rows, 0)
        done = restore_books(rt)
    assert done.tables == {name: rows.num_rows for name, rows in before.items()}
    after = other.books()
    claims = {"series_month", "load_receipt", "month_export", "archive_receipt"}
    for name, rows in before.items():
        assert name in claims or after[name].equals(rows), name
    with pytest.raises(StorageError, match=r"archive_object, .* have rows already, and nothing is overwritten"):
        _restore_into(other)
    assert other.books() == after


@pytest.mark.parametrize("kind", KINDS)
def test_keys_go_on_where_they_ended_and_columns_of_later_get_their_defaults(make_house: MakeHouse, kind: str) -> None:
    one, other = make_house(kind), make_house(kind)
    fill(one)
    one.execute("ALTER TABLE restatement DROP COLUMN applied", "ALTER TABLE data_gap_log DROP COLUMN page_key")
    columns = ("restatement", "applied"), ("data_gap_log", "page_key")
    with pytest.MonkeyPatch.context() as patch, one.open() as rt:
        # As an installation of an earlier schema exports: it knows neither the columns nor the newest book.
        real = arrow_schema
        patch.setattr(
            "gapless.pipeline.books.export.arrow_schema",
            lambda table: real(table, [c.name for c in table.columns if (table.name, c.name) not in columns]),
        )
        earlier = [table for table in BOOKS if table.name != "month_export"]
        patch.setattr("gapless.pipeline.books.export.BOOKS", earlier)
        patch.setattr("gapless.pipeline.books.export.revision_of", lambda connection: "0003")
        assert export_books(rt).revision == "0003"
    with other.open() as rt:
        assert restore_books(rt).tables["restatement"] == 2
    assert other.execute("SELECT id, applied FROM restatement ORDER BY id") == [(1, 1), (2, 1)]
    assert other.execute("SELECT page_key FROM data_gap_log") == [(None,), (None,)]
    names = ", ".join(f"`{c.name}`" for c in metadata.tables["restatement"].columns if c.name != "id")
    other.execute(f"INSERT INTO restatement ({names}) SELECT {names} FROM restatement WHERE id = 1")
    assert other.execute("SELECT MAX(id) FROM restatement") == [(3,)]


def test_only_what_changed_is_stored_again_and_a_damaged_object_is_stored_anew(make_house: MakeHouse) -> None:
    house = make_house()
    fill(house)
    with house.db.engine.begin() as connection:
        replace_rows(connection, "archive_series", ledger_rows(200), {}, "a ledger")
    with house.open() as rt:
        first = export_books(rt)
        assert first.files == first.written == len(BOOKS) + 6  # a part for each month, from May to November
        second = export_books(rt)
        assert (second.written, second.files, second.rows) == (0, first.files, first.rows)
        assert second.stamp > first.stamp
        house.execute("UPDATE archive_series SET `rows` = 7 WHERE day = '2026-11-19'")
        assert export_books(rt).written == 1
        [october] = Path(house.settings.lake.removeprefix("file://")).glob("books/*/archive_series-2026-10.00.parquet")
        october.write_bytes(october.read_bytes()[:-1] + b"?")
        third = export_books(rt)
        assert third.written == 1
        assert len(list_books(rt.lake.store)) == 4
        day = from_ms(zone.stamp_ms(third.stamp)).date()
        assert (export_books(rt, day).stamp, export_books(rt, day).made) == (third.stamp, False)
        assert export_books(rt, day + timedelta(days=1)).made
        fresh = make_house()
        for damaged in (first.stamp, second.stamp):
            with pytest.raises(Damaged, match=r"archive_series-2026-10.00.parquet is damaged: .* another export"):
                _restore_into(fresh, damaged)
    _restore_into(fresh, third.stamp)
    assert fresh.books()["archive_series"].equals(house.books()["archive_series"])


def _restore_into(house: House, stamp: str | None = None) -> None:
    with house.open() as rt:
        restore_books(rt, stamp)


def test_an_export_that_its_store_or_its_disk_fails_does_not_exist(make_house: MakeHouse) -> None:
    house = make_house()
    fill(house)
    with house.open() as rt:
        first = export_books(rt)
        house.execute("UPDATE counter SET total = total + 1", "UPDATE review SET note = 'another'")
        store = rt.lake.store
        put, get = store.put, store.get
        for name, fault in (
            ("put", lambda key, data, **of: put(key, data[:-1] + b"?" if "counter" in key else data, **of)),
            ("get", lambda key: b"?" if "manifest" in key and first.stamp not in key else get(key)),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(store, name, fault)
                with pytest.raises(StorageError, match="came back with other bytes than were written"):
                    export_books(rt)
            if name == "put":
                assert [each.stamp for each in list_books(store)] == [first.stamp]
        house.settings.spool_dir.rename(house.settings.var_dir / "moved")
        house.settings.spool_dir.write_text("a file where the folder should be")
        with pytest.raises(StorageError, match=r"cannot be spooled to .*; nothing was exported"):
            export_books(rt)
        house.settings.spool_dir.unlink()
        done = export_books(rt)
    fresh = make_house()
    _restore_into(fresh, done.stamp)
    assert fresh.books()["review"].equals(house.books()["review"])


def test_an_export_that_cannot_be_trusted_leaves_the_database_empty(make_house: MakeHouse) -> None:
    one, other = make_house(), make_house()
    fill(one)
    with one.open() as rt:
        stamp = export_books(rt).stamp
    folder = Path(one.settings.lake.removeprefix("file://")) / "books" / stamp
    with pytest.raises(NotFound, match="no such export, or it was never finished"):
        _restore_into(other, "2020-01-01T000000Z")
    with pytest.raises(ConfigError, match="not the name of an export of the books: 'yesterday'"):
        _restore_into(other, "yesterday")
    whole = (folder / "review.00.parquet").read_bytes()
    (folder / "review.00.parquet").unlink()  # among the last to be restored: what went before must not stay
    with pytest.raises(Damaged, match=r"review.00.parquet is not there, though the export's manifest names it"):
        _restore_into(other)
    (folder / "review.00.parquet").write_bytes(whole)
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(manifest.replace(b'"rows":2', b'"rows":3', 1))
    with pytest.raises(Damaged, match="its digest is not that of its content"):
        _restore_into(other)
    assert not any(rows.num_rows for rows in other.books().values())
    with other.open() as rt:
        assert "its digest is not" in list_books(rt.lake.store)[0].damage
    (folder / "manifest.json").write_bytes(manifest)
    _restore_into(other)
    assert other.books()["review"].num_rows == 2


def test_data_of_another_origin_and_newer_schemas_are_refused(make_house: MakeHouse) -> None:
    one, other, bare = make_house(), make_house(), make_house()
    fill(one)
    claim_origin(other.db, "binance")
    with one.open() as rt:
        export_books(rt)
    with pytest.raises(
        OriginMismatch, match="it is of origin 'replica:7', the database holds data of origin 'binance'"
    ):
        _restore_into(other)
    with pytest.raises(OriginMismatch, match="holds data of origin replica:7, not binance"), other.open() as rt:
        export_books(rt)
    bare.execute("UPDATE alembic_version SET version_num = '0003'")
    with pytest.raises(StorageError, match="made at the schema's revision 0005, newer than 0003 here; update Gapless"):
        _restore_into(bare)
    bare.execute("UPDATE alembic_version SET version_num = '0005'")
    claim_origin(bare.db, "replica:7")  # a command that ran before the restore; that alone is no obstacle
    _restore_into(bare)
    assert bare.books()["installation"].equals(one.books()["installation"])


def test_a_row_that_somebody_else_writes_meanwhile_stops_the_restore(make_house: MakeHouse) -> None:
    one, other = make_house(), make_house()
    fill(one)
    with one.open() as rt:
        export_books(rt)

    def disturb(what: str) -> None:
        if "restoring counter" in what:
            other.execute("INSERT INTO counter VALUES ('another', '{}', 1)")

    with other.open() as rt, pytest.raises(StorageError, match=r"other rows of counter .* Stop what else writes"):
        restore_books(rt, on_step=disturb)
    assert {name for name, rows in other.books().items() if rows.num_rows} == {"counter"}


def _moment(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_the_lost_server_held_is_open_again(make_house: MakeHouse, kind: str) -> None:
    one, other = make_house(kind), make_house(kind)
    fill(one)
    now = time.time_ns() // 1_000_000
    hours = {"9" * 16: now - 3 * HOUR_MS, "8" * 16: now - 60 * HOUR_MS}
    one.execute(
        "DELETE FROM load_receipt",
        "DELETE FROM series_month",
        "DELETE FROM month_export",
        *(
            f"INSERT INTO load_receipt SELECT {n}, '{key}', 0, 'ohlcv', 'binance', 'um', REPEAT('0', 64), "
            f"'{_moment(end - HOUR_MS)}', '{_moment(end)}', 1, 5, 5, 0, 0, 0, 0, REPEAT('0', 64), NOW(3), NOW(3)"
            for n, (key, end) in enumerate(hours.items())
        ),
        *(
            f"INSERT INTO series_month VALUES ('ohlcv', 'binance', '{COIN}', '1m', '2026-10-01', '{store}', 'um', "
            "'2026-10-01', '2026-11-01', 44640, 44640, 0, 0, 'whole', 'vision', NOW(3))"
            for store in ("mysql", "lake")
        ),
        *(
            f"INSERT INTO month_export VALUES ('ohlcv', '2026-0{n}-01', 1, '{state}', 'm', 1, 1, 0, 0, 1, 1, 1, 1, "
            "REPEAT('0', 64), 'file:///x', 0.1, 1e-7, NOW(3), NULL, NULL, NOW(3))"
            for n, state in enumerate(("copying", "leaving", "verified", "dropped", "restored"), 1)
        ),
    )
    key = "ohlcv/binance-1m-2026-10-01.parquet"
    with one.open() as rt:
        export_books(rt)
        rt.lake.store.put(key, b"written after the snapshot")
    with other.open() as rt:
        done = restore_books(rt)
    ledger = "SELECT store, state, expected, present FROM series_month ORDER BY store"
    assert other.execute(ledger) == [("lake", "whole", 44640, 44640), ("mysql", "partial", 44640, 0)]
    again = "SELECT batch_key, complete FROM load_receipt WHERE archived_at IS NULL"
    assert other.execute(again) == [("9" * 16, 1)]
    months = other.execute("SELECT state, hold_until IS NULL, dropped_at IS NULL FROM month_export ORDER BY month")
    left = [("copying", 0, 1), ("copying", 0, 1), ("dropped", 1, 0), ("dropped", 0, 1), ("dropped", 1, 0)]
    assert months == left
    unfinished = other.execute("SELECT uri, dataset, `interval` FROM archive_receipt WHERE state = 'rewriting'")
    assert unfinished == [(f"{other.settings.lake}/{key}", "ohlcv", "1m")]
    told = done.reopened
    assert (told.months, told.loads, told.exports, told.objects) == (1, 1, 3, 1)
    assert len(done.notes) == 3


def test_the_bars_follow_the_books_into_a_new_server(
    make_installation: MakeInstallation, replica: ReplicaHandle
) -> None:
    lost = make_installation(replica, name="lost")
    lake = lost.settings.lake
    lost.etl(intervals="1m,1h")
    lost.backfill("2026-11-14", "2026-11-15", into="mysql")
    with lost.open() as rt:
        export_books(rt)
    before = Window(NOON.start_ms - HOUR_MS, NOON.start_ms)
    lost.etl(before, intervals="1m,1h")  # of this hour the lake knows, and the export does not
    held = "SELECT symbol, `interval`, day, `rows`, sha256 FROM archive_series ORDER BY 1, 2, 3"
    fresh = make_installation(replica, name="fresh", lake_uri=lake)
    with fresh.open() as rt:
        restore_books(rt)
        assert load_coverage(rt.db, "binance", Market.UM, NOON, archived=True) == [], "the hour is to be taken again"
        assert load_coverage(rt.db, "binance", Market.UM, NOON) != [], "that it was taken once stays on record"
        assert len(unfinished_objects(rt.db, "ohlcv")) == 2
    window = ["--start", iso(before.start_ms), "--end", iso(NOON.end_ms), "--symbols", "BTC/USDT:USDT"]
    code, report, errors = fresh.command("gaps", *window, "--intervals", "1m,1h", "--fill")
    assert (code, report["missing"], report["failed"]) == (0, 0, 0), errors
    assert unfinished_objects(fresh.db, "ohlcv") == []
    assert fresh.rows(held) == lost.rows(held)
    assert [fresh.etl(hour, intervals="1m,1h").rows_loaded for hour in (before, NOON)] == [61, 61]
    assert fresh.backfill("2026-11-14", "2026-11-15", into="mysql").rows_loaded == 1440
    assert fresh.mysql_bars() == lost.mysql_bars()
    with fresh.open() as rt:
        assert load_coverage(rt.db, "binance", Market.UM, NOON, archived=True) != []
    assert fresh.rows("SELECT state, expected, present FROM series_month") == [("whole", 1440, 1440)]


def test_killed_at_random_points_either_way_and_done_again_it_is_whole(make_house: MakeHouse) -> None:
    one, other = make_house(), make_house()
    fill(one)
    with one.db.engine.begin() as connection:
        replace_rows(connection, "archive_series", ledger_rows(4_000), {}, "a ledger")
    before = one.books()
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    began = time.monotonic()
    code, receipt, errors = one.command("export-books")
    assert code == 0, errors
    killed = _kill_some(one, ["export-books"], rng, time.monotonic() - began, lambda: None)
    code, listed, _ = one.command("restore-books", "--list")
    assert code == 0
    assert [each["stamp"] for each in listed["exports"]][-1] == receipt["stamp"]
    code, receipt, errors = one.command("export-books")
    assert (code, receipt["rows"]) == (0, sum(rows.num_rows for rows in before.values())), errors

    began = time.monotonic()
    _, dry, _ = other.command("restore-books", "--dry-run")
    assert dry["dry_run"]

    def nothing_or_all() -> None:
        filled = {name for name, rows in other.books().items() if rows.num_rows}
        assert filled in (set(), set(before)), f"seed {seed}: {filled}"
        if filled:  # it was done before the kill: again from the start
            other.execute(*(f"DELETE FROM `{name}`" for name in sorted(filled)))

    killed += _kill_some(other, ["restore-books"], rng, 2 * (time.monotonic() - began), nothing_or_all)
    assert killed, f"seed {seed}: everything ended before it was killed"
    code, done, errors = other.command("restore-books")
    assert code == 0, errors
    assert done["tables"] == {name: rows.num_rows for name, rows in before.items()}
    assert other.books()["archive_series"].equals(before["archive_series"]), f"seed {seed}"
    spool = other.settings.spool_dir / "books"
    assert not list(spool.glob("*")), "a restore leaves no file"


def _kill_some(house: House, command: list[str], rng: random.Random, duration: float, check: Callable[[], None]) -> int:
    killed = 0
    for _ in range(3):
        with house.start(*command) as process:
            try:
                process.communicate(timeout=rng.uniform(0.1, 1.0) * duration)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
                process.communicate()
        check()
    return killed


def test_the_commands_speak_json_and_refuse_what_makes_no_sense(make_house: MakeHouse) -> None:
    house = make_house()
    fill(house)
    code, _, errors = house.command("restore-books")
    assert (code, "holds no export of the books" in errors) == (1, True)
    code, receipt, _ = house.command("export-books")
    assert (code, receipt["tables"], receipt["origin"], receipt["made"]) == (0, len(BOOKS), "replica:7", True)
    code, failed, errors = house.command("restore-books", "--from", receipt["stamp"])
    assert (code, failed["errors"][0]["kind"]) == (1, "storage")
    assert "have rows already" in errors
    code, _, errors = house.command("restore-books", "--from", "x")
    assert (code, "not the name of an export" in errors) == (2, True)
    assert house.command("restore-books", "--list", "--dry-run")[0] == 2
    fresh = make_house()
    for words, said in (
        (["--list"], [receipt["stamp"], f"{receipt['rows']:,} rows", "1 exports"]),
        (["--dry-run"], ["checked, nothing written", "quarantine"]),
        ([], ["books restored", "all rows"]),
    ):
        with fresh.start("restore-books", *words) as process:
            out, errors = process.communicate(timeout=120)
        assert (process.returncode, [each for each in said if each not in out]) == (0, []), errors
