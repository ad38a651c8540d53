"""Sweeps of real lakes and books: what goes, what is held, and that a dry run says exactly what a real one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.config import Settings, load_settings
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.domain.retention import LoadState
from gapless.domain.window import DAY_MS, HOUR_MS, Window, parse_time
from gapless.errors import ConfigError, StorageError
from gapless.pipeline.retention import sweep as sweeping
from gapless.pipeline.retention import zones
from gapless.pipeline.retention.rules import first_cold_border_ms, hot_since, load_rules
from gapless.pipeline.retention.sweep import Item, RetentionReport, sweep
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import BarLake, FileLocks, ObjectStore, layout
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.superseded import superseded_key
from gapless.storage.mysql import Draft, MySql, Scope, load_bars
from gapless.storage.mysql.exports import COPYING, RESTORED, VERIFIED, MonthExport, put_export
from gapless.storage.mysql.manifest import ManifestRow, put_manifest
from gapless.storage.mysql.partitions import Month
from gapless.storage.mysql.receipts import mark_archived
from gapless.storage.spool import hour_folder, streams_root
from tests.fixtures.mysql import fresh_database
from tests.fixtures.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.pipeline.conftest import mysql_url
from tests.storage.mysql.bars import make_bars

NOW = parse_time("2026-11-20T00:50")
HOUR = Window.of("2026-06-01T10:00", "2026-06-01T11:00")
SHA = "0123456789abcdef" * 4


@dataclass(frozen=True)
class House:
    """An installation without an exchange, and the folder that its objects lie in, to make them old."""

    settings: Settings
    db: MySql
    objects: Path

    def sweep(self, now_ms: int = NOW, **options: Any) -> RetentionReport:
        with Runtime.open(self.settings) as rt:
            return sweep(rt, now_ms, **options)

    def put(self, key: str, *, days: float, data: bytes = b"12345") -> str:
        """An object that was written so many days ago."""
        path = self.objects / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        at_s = (NOW - days * DAY_MS) / 1000
        os.utime(path, (at_s, at_s))
        return key

    def has(self, key: str) -> bool:
        return (self.objects / key).exists()

    def load(self, batch: str, *, complete: bool = True, archived: bool = True, window: Window = HOUR) -> None:
        """A load of one batch, on record."""
        draft = Draft(batch, "binance", Market.SPOT, window, Scope.product(["A/USDT"], ["1m"]), complete, "0" * 64)
        outcome = load_bars(self.db, make_bars(["A/USDT"], window), draft)
        if archived:
            mark_archived(self.db, [outcome.receipt_id])


@pytest.fixture(params=["mariadb-file", "mysql-s3"])
def house(request: pytest.FixtureRequest, tmp_path: Path, mysql_servers: Callable[[str], Any]) -> Iterator[House]:
    """On each server and each store once. The S3 server is the test's own: it remembers folders that it has listed, and
    would not see what is laid into them behind its back to be old."""
    kind, _, store = request.param.partition("-")
    values: dict[str, Any] = {"var_dir": tmp_path / "var", "lake_uri": f"file://{tmp_path}/lake"}
    objects = tmp_path / "lake"
    if store == "s3":
        server: S3Server = request.getfixturevalue("own_s3")
        objects = server.bucket_folder / "prefix"
        values |= {"lake_uri": f"s3://{BUCKET}/prefix", "s3_endpoint_url": server.endpoint}
        values |= {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    with fresh_database(mysql_servers(kind)) as db:
        yield House(load_settings(mysql_url=mysql_url(db), storage_patience_s=10, **values), db, objects)


@pytest.fixture
def small(tmp_path: Path, mysql_servers: Callable[[str], Any]) -> Iterator[House]:
    """On MariaDB and a folder alone."""
    values: dict[str, Any] = {"var_dir": tmp_path / "var", "lake_uri": f"file://{tmp_path}/lake"}
    with fresh_database(mysql_servers("mariadb")) as db:
        yield House(load_settings(mysql_url=mysql_url(db), storage_patience_s=10, **values), db, tmp_path / "lake")


def raw_of(batch: str, digest: str = "f" * 16) -> str:
    return layout.raw_key("ohlcv", "binance", "spot", HOUR.start_ms, batch, digest)


def gone(report: RetentionReport) -> set[str]:
    return {item.where for item in report.items if item.goes}


def names(items: set[str], house: House) -> set[str]:
    return {item.removeprefix(house.settings.lake + "/") for item in items}


def write_rules(house: House, text: str) -> House:
    path = house.settings.var_dir / "retention.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return replace(house, settings=house.settings.model_copy(update={"retention_file": path}))


def furnish(house: House) -> tuple[set[str], set[str]]:
    """Something old and young in every zone; the keys that go, and those that stay."""
    house.load("a" * 16)
    house.load("b" * 16, archived=False)
    house.load("c" * 16, complete=False)
    going = {
        house.put(raw_of("a" * 16), days=91),
        house.put(raw_of("a" * 16, "e" * 16), days=91),
        house.put(layout.work_key("a" * 16, "bars", "0" * 16), days=3),
        house.put(superseded_key("ohlcv/binance-1m-2026-06-02.parquet", SHA), days=31),
        house.put("reports/quality/2026-08-01/run.json", days=0),
        house.put(layout.rejected_key("data/spot/daily/A-1m-2026-06-01.zip", SHA), days=8),
    }
    staying = {
        house.put(raw_of("a" * 16, "d" * 16), days=89),
        house.put(raw_of("b" * 16), days=91),
        house.put(raw_of("c" * 16), days=91),
        house.put(raw_of("9" * 16), days=400),
        house.put("raw/ohlcv/notes.txt", days=400),
        house.put(layout.work_key("a" * 16, "bars", "1" * 16), days=1),
        house.put(superseded_key("ohlcv/binance-1m-2026-05-02.parquet", SHA), days=31),
        house.put(superseded_key("ohlcv/binance-1m-2026-06-02.parquet", SHA[::-1]), days=29),
        house.put("_superseded/moved-by-hand.parquet", days=400),
        house.put("reports/quality/2026-11-01/run.json", days=400),
        house.put(layout.rejected_key("data/spot/daily/A-1m-2026-06-02.zip", SHA), days=8),
        house.put(layout.rejected_key("data/spot/daily/A-1m-2026-06-01.zip", SHA[::-1]), days=6),
        house.put("ohlcv/binance-1m-2017-08-17.parquet", days=3000),
        house.put("trades/binance-2026-01-01T00.00.parquet", days=3000),
        house.put("_meta/origin.json", days=3000, data=b'{"origin":"binance"}\n'),
    }
    put_export(house.db, MonthExport(Dataset.OHLCV, Month(2026, 6), 1, VERIFIED, NOW))
    put_export(house.db, MonthExport(Dataset.OHLCV, Month(2026, 5), 1, COPYING, NOW))
    put_manifest(house.db, [archived(1, "loaded"), archived(2, "rejected")])
    return going, staying


def archived(day: int, state: str) -> ManifestRow:
    values: dict[str, Any] = dict.fromkeys(ManifestRow.__dataclass_fields__, "")
    numbers = [name for name, field in ManifestRow.__dataclass_fields__.items() if "int" in str(field.type)]
    values |= dict.fromkeys(numbers, 0)
    return ManifestRow(
        **values
        | {
            "path": f"data/spot/daily/A-1m-2026-06-{day:02}.zip",
            "market": Market.SPOT,
            "state": state,
            "period": "day",
            "sha256": SHA,
        }
    )


def test_a_dry_run_lists_what_a_real_one_removes_and_nothing_else_goes(house: House) -> None:
    house = write_rules(house, "quarantine: {days: 7}")
    going, staying = furnish(house)
    dry = house.sweep()
    assert not dry.applied
    assert names(gone(dry), house) == going
    assert all(house.has(key) for key in going | staying)
    heard: list[Item] = []
    real = house.sweep(apply=True, on_item=heard.append)
    assert real.applied
    assert (real.items, real.zones, real.objects, real.bytes) == (dry.items, dry.zones, dry.objects, dry.bytes)
    assert tuple(heard) == real.items
    assert not any(house.has(key) for key in going)
    assert all(house.has(key) for key in staying)
    again = house.sweep(apply=True)
    assert (again.objects, again.bytes, gone(again)) == (0, 0, set())
    held = {item.zone: item.why for item in again.items}
    assert {zone.zone: zone.held for zone in again.zones if zone.held} == {"raw": 3, "superseded": 1, "quarantine": 1}
    assert all(why.startswith("held: ") for why in held.values())


def test_a_zone_counts_objects_bytes_and_the_oldest(small: House) -> None:
    small.put("reports/quality/2026-08-01/a.json", days=0, data=b"1234567")
    small.put("reports/audit/2026-07-31/a.json", days=0, data=b"123")
    totals = {zone.zone: zone for zone in small.sweep().zones}
    assert (totals["reports"].objects, totals["reports"].bytes) == (2, 10)
    assert totals["reports"].oldest == "2026-08-01T00:00:00Z"
    assert totals["quarantine"].days is None
    assert set(totals) == {"raw", "work", "superseded", "quarantine", "books", "reports", "data_docs"}


def test_a_sweep_that_is_cut_off_anywhere_is_ended_by_the_next(small: House) -> None:
    small.load("a" * 16)
    keys = {small.put(raw_of("a" * 16, f"{n:016x}"), days=100) for n in range(7)}
    left = len(keys)
    while left:
        seen: list[Item] = []

        def cut(item: Item, seen: list[Item] = seen) -> None:
            seen.append(item)
            if len(seen) == 3:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            small.sweep(apply=True, on_item=cut)
        assert sum(small.has(key) for key in keys) == left - len(seen)
        left -= len(seen)
    assert small.sweep(apply=True).objects == 0


def test_a_payload_that_a_run_has_just_written_again_stays(small: House) -> None:
    """A run that extracts an old window anew may write the same bytes under the same name during a sweep."""
    small.load("a" * 16)
    first, second = (small.put(raw_of("a" * 16, digit * 16), days=100) for digit in "01")
    small.sweep(apply=True, on_item=lambda item: small.put(second, days=0) and None)
    assert not small.has(first)
    assert small.has(second)


def test_extracting_again_renews_an_old_payload_of_equal_bytes(small: House) -> None:
    with Runtime.open(small.settings) as rt:
        key = raw_of("a" * 16)
        rt.lake.put_raw(key, ["a"])
        data = (small.objects / key).read_bytes()
        small.put(key, days=100, data=data)
        rt.lake.put_raw(key, ["a"])
        assert (small.objects / key).read_bytes() == data
        stat = rt.lake.store.head(key)
        assert stat is not None
        assert stat.modified_ms > NOW - DAY_MS


def test_more_objects_than_a_listing_has_on_a_page_all_go(house: House) -> None:
    for n in range(1_050):
        house.put(layout.work_key(f"{n:016x}", "bars", "0" * 16), days=5)
    report = house.sweep(apply=True)
    assert (report.objects, len(report.items), report.unlisted) == (1_050, 1_000, 50)
    assert house.sweep().objects == 0


class Sick:
    """A store that cannot list payloads."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner

    def __getattribute__(self, name: str) -> Any:
        if name in ("_inner", "list"):
            return object.__getattribute__(self, name)
        return getattr(self._inner, name)

    def list(self, prefix: str) -> Iterator[Any]:
        if prefix.startswith("raw/"):
            raise StorageError("cannot list raw/: the store is away; see that it runs")
        return self._inner.list(prefix)


def test_a_zone_that_fails_stops_no_other_and_is_told(small: House) -> None:
    old = small.put("reports/quality/2026-08-01/a.json", days=0)
    with Runtime.open(small.settings) as rt:
        sick = replace(rt, lake=BarLake(cast(ObjectStore, Sick(rt.lake.store)), locks=rt.db))
        report = sweep(sick, NOW, apply=True)
    assert not small.has(old)
    assert not report.clean
    assert [(error.kind, error.message.split(":")[0]) for error in report.errors] == [("storage", "raw")]


def test_months_that_are_not_hot_are_told_and_left_alone(house: House) -> None:
    for text in ("2026-06-01T10:00", "2026-08-31T23:00", "2026-09-01T00:00"):
        start = parse_time(text)
        house.load(f"{start:016x}", window=Window(start, start + HOUR_MS))
    put_export(house.db, MonthExport(Dataset.OHLCV, Month(2026, 6), 1, RESTORED, NOW, hold_until_ms=NOW + DAY_MS))
    report = house.sweep(apply=True)
    assert [(each.table, each.month, each.state, each.hold_until) for each in report.exports] == [
        ("ohlcv", "2026-06", "restored", "2026-11-21T00:50:00Z"),
        ("ohlcv", "2026-08", "", None),
    ]
    with house.db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM ohlcv").scalar() == 3 * 60
    fewer = write_rules(house, "hot_months: {ohlcv: 2, funding_rate: 9}").sweep()
    assert [each.month for each in fewer.exports] == ["2026-06", "2026-08", "2026-09"]


def test_a_spooled_hour_that_nobody_publishes_is_told_and_never_deleted(small: House) -> None:
    root = streams_root(small.settings.spool_dir)
    files = []
    for hour, late in (("2026-11-19T10:00", 0), ("2026-11-19T19:00", 0), ("2026-11-19T09:00", 13)):
        start = parse_time(hour)
        path = hour_folder(root, Kind.TRADES, "binance", start) / "one-1.seg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"frames")
        came_s = start / 1000 + 60 + late * 3600
        os.utime(path, (came_s, came_s))
        files.append(path)
    report = small.sweep(apply=True)
    assert [(each.hour, each.hours_waiting) for each in report.overdue] == [("2026-11-19T10:00:00Z", 13)]
    assert not report.clean
    assert all(path.exists() for path in files)


def test_the_report_names_a_thousand_items_and_counts_the_rest(small: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "LISTED", 2)
    for n in range(5):
        small.put(f"reports/quality/2026-08-01/{n}.json", days=0)
    report = small.sweep()
    assert (len(report.items), report.unlisted, report.objects) == (2, 3, 5)


def test_the_command_lists_for_programs_and_its_status_tells_of_what_needs_a_person(small: House) -> None:
    small.put("reports/quality/2020-01-01/a.json", days=0)
    status, printed, _ = command(small, "--json")
    report = json.loads(printed)
    assert (status, report["applied"], report["objects"], report["errors"]) == (0, False, 1, [])
    assert report["items"][0]["where"] == f"{small.settings.lake}/reports/quality/2020-01-01/a.json"
    segment = hour_folder(streams_root(small.settings.spool_dir), Kind.TRADES, "binance", HOUR.start_ms) / "one-1.seg"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"frames")
    os.utime(segment, (0, 0))
    status, printed, said = command(small, "--apply")
    assert status == 1
    assert "reports/quality/2020-01-01/a.json" in printed
    assert "overdue: trades binance 2026-06-01T10:00:00Z" in said
    assert not small.has("reports/quality/2020-01-01/a.json")


def test_the_command_refuses_a_wrong_file_before_it_removes_anything(small: House) -> None:
    old = small.put("reports/quality/2020-01-01/a.json", days=0)
    wrong = write_rules(small, "reports: {dayz: 1}")
    status, printed, said = command(wrong, "--apply", "--json")
    assert (status, printed) == (2, "")
    assert said.strip() == f"gapless: {wrong.settings.retention_file}: reports.dayz is not known; " + (
        "write one of the keys in include/retention.yaml, spelt as there"
    )
    assert small.has(old)


def command(house: House, *arguments: str) -> tuple[int, str, str]:
    """`gapless retention` as a process: exit status, standard output, standard error."""
    url = house.settings.mysql_url
    environment = {
        **os.environ,
        "GAPLESS_MYSQL_URL": url.get_secret_value() if url else "",
        "GAPLESS_LAKE_URI": house.settings.lake,
        "GAPLESS_VAR_DIR": str(house.settings.var_dir),
        "GAPLESS_RETENTION_FILE": str(house.settings.retention_file),
    }
    done = subprocess.run(
        [sys.executable, "-m", "gapless", "retention", *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


PAYLOADS = st.dictionaries(
    st.integers(0, 5).map(lambda n: f"{n:016x}"),
    st.tuples(
        st.lists(st.integers(0, 200), min_size=1, max_size=3),
        st.lists(st.builds(LoadState, st.booleans(), st.booleans()), max_size=2),
    ),
    max_size=5,
)


@given(payloads=PAYLOADS, days=st.integers(1, 150))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_there_a_sweep_removes_what_its_dry_run_said_and_nothing_young_or_open(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    payloads: dict[str, tuple[list[int], list[LoadState]]],
    days: int,
) -> None:
    """Payloads of random ages, of batches in random states; the books are a dictionary here."""
    folder = tmp_path_factory.mktemp("lake")
    lake = BarLake(FileStore(folder), locks=FileLocks(folder / "_locks"))
    rt = cast(Runtime, SimpleNamespace(lake=lake, db=None))
    house = House(load_settings(), cast(MySql, None), folder)
    states = {batch: loads for batch, (_, loads) in payloads.items() if loads}
    monkeypatch.setattr(zones, "load_states", lambda db, batches: states)
    monkeypatch.setattr(zones, "_AT_ONCE", 2)
    ages = {
        house.put(raw_of(batch, f"{n:016x}"), days=age): (age, loads)
        for batch, (aged, loads) in payloads.items()
        for n, age in enumerate(aged)
    }
    dry = list(zones._raw(rt, NOW, days, False))
    assert all(house.has(key) for key in ages)
    assert list(zones._raw(rt, NOW, days, True)) == dry
    for key, (age, loads) in ages.items():
        finished = bool(loads) and all(load.archived for load in loads) and any(load.complete for load in loads)
        assert house.has(key) == (not finished or age < days)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raw: {days: 0}", "raw.days is wrong: write a whole number >= 1"),
        ("raw: {dayz: 3}", "raw.dayz is not known"),
        ("raws: {days: 3}", "raws is not known"),
        ("hot_months: {trades: 3}", "hot_months.trades is not known"),
        ("streams: {minutes: soon}", "streams.minutes is wrong: write a whole number, got text"),
        ("spool: {bytes: 5}", "spool.bytes is wrong: write a whole number >= 1048576"),
        ("reports: {days: null}", "reports.days is wrong"),
        ("raw: 5", "raw is wrong: write keys and values"),
        ("- a", "the file is wrong: write keys and values"),
        ("1: 2", "its keys are words"),
        ("a: [", "not YAML"),
        ("raw: {days: yes}", "raw.days is wrong: write a whole number, or null"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_rules(load_settings(retention_file=path))
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    for days in (10, 20, 30):
        path.write_text(f"raw: {{days: {days}}}")
        os.utime(path, (days, days))
        assert load_rules(load_settings(retention_file=path)).raw.days == days


def test_a_missing_file_is_refused_with_the_variable_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; GAPLESS_RETENTION_FILE"):
        load_rules(load_settings(retention_file=tmp_path / "none.yaml"))


def test_the_file_of_the_project_has_the_values_that_hold_without_it(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("hot_months:\n")
    assert load_rules(load_settings()) == load_rules(load_settings(retention_file=empty))


def test_hot_months_are_the_tables_own_or_those_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text("hot_months: {funding_rate: 1}")
    own = load_settings(retention_file=path, hot_months=2)
    assert hot_since(own, Dataset.OHLCV, NOW) == parse_time("2026-10-01")
    assert hot_since(own, Dataset.FUNDING, NOW) == parse_time("2026-11-01")
    assert first_cold_border_ms(own, NOW) == parse_time("2026-11-01")


def test_the_variable_for_reports_counts_more_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text("reports: {days: 10}")
    assert load_rules(load_settings(retention_file=path)).reports.days == 10
    assert load_rules(load_settings(retention_file=path, reports_days=5)).reports.days == 5
