"""Spooled Streams in the lake: every entry once whatever dies, proved before the spool lets go, holes told."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from redis import Redis
from sqlalchemy import text

from gapless.config import Settings
from gapless.domain.live import GAPS_KEY, Entry, GapEvent, Kind, fields_of, gap_fields, stream_key
from gapless.domain.retention import SpoolBounds, StreamBounds
from gapless.domain.window import parse_time
from gapless.errors import NotYet, StorageError
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stream_archive import closed, publish
from gapless.pipeline.stream_archive.closed import publish_closed
from gapless.pipeline.stream_archive.receipts import PublishReport, StreamHourReceipt
from gapless.pipeline.stream_archive.take import DEFAULT_KINDS, Taker
from gapless.quality.expectations.books import CHECK_RUN, QUARANTINE
from gapless.quality.expectations.ledgers import ARCHIVE_RECEIPT
from gapless.quality.expectations.rules import Rows
from gapless.storage.lake import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.objects import ObjectStore
from gapless.storage.live import open_streams
from gapless.storage.mysql import MySql
from gapless.storage.spool import SegmentWriter, hour_folder, seal, spooled_hours, streams_root
from tests.fixtures.forks import run_forked

HOUR = parse_time("2026-11-20T16")
HOUR_MS = 3_600_000
LATER = HOUR + HOUR_MS + 300_000
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT", "XRP/USDT")


def trade(number: int, *, symbol: str = SYMBOLS[0], at_ms: int | None = None, **changed: Any) -> Entry:
    """A trade, a second apart from the next; sent 90 ms after it happened."""
    at_ms = HOUR + number * 1_000 if at_ms is None else at_ms
    said = {
        "e": "aggTrade", "E": at_ms + 90, "a": number, "s": symbol.partition(":")[0].replace("/", ""),
        "p": f"{100 + number % 7}.{number % 100:02}", "q": "0.50000001", "f": number * 2, "l": number * 2 + 1,
        "T": at_ms, "m": bool(number % 2), **changed,
    }  # fmt: skip
    payload = json.dumps(said, ensure_ascii=False).encode()
    return Entry(Kind.TRADES, "binance", symbol, f"{at_ms}-0", said["E"], (at_ms + 120) * 10**6, str(number), payload)


def mark(number: int, **changed: Any) -> Entry:
    at_ms = HOUR + number * 1_000
    said = {
        "e": "markPriceUpdate", "E": at_ms, "s": "BTCUSDT", "p": "64346.70000000", "ap": "64346.7",
        "P": "64335.31235580", "i": "64399.61608696", "r": "-0.00005301", "T": HOUR + 8 * HOUR_MS, **changed,
    }  # fmt: skip
    return Entry(Kind.MARK_PRICE, "binance", SYMBOLS[0], f"{at_ms}-0", at_ms, 1, str(at_ms), json.dumps(said).encode())


def liquidation(at_ms: int, quantity: str) -> Entry:
    order = {
        "s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": quantity, "p": "3.8", "ap": "3.9", "X": "FILLED",
        "l": quantity, "z": quantity, "T": at_ms,
    }  # fmt: skip
    payload = json.dumps({"e": "forceOrder", "E": at_ms + 500, "o": order}).encode()
    return Entry(Kind.LIQUIDATIONS, "binance", SYMBOLS[0], f"{at_ms}-0", at_ms + 500, 1, f"{at_ms}:{quantity}", payload)


def loss(at_ms: int, *, reason: str = "reconnect", kind: Kind = Kind.TRADES, **said: Any) -> Entry:
    told = GapEvent(kind=kind, exchange="binance", symbol=SYMBOLS[0], reason=reason, at_ms=at_ms,
                    **{"detail": "cut", **said})  # fmt: skip
    body = msgspec.json.encode(told)
    return Entry(Kind.GAPS, "binance", SYMBOLS[0], f"{at_ms}-0", at_ms, at_ms * 10**6, f"{at_ms}", body)


class Archive:
    """An installation's spool, lake and books."""

    def __init__(self, home: Path, db: MySql, store: ObjectStore | None = None) -> None:
        self.home, self.db = home, db
        self.store = store or FileStore(home / "lake")
        self.rt = self.runtime(db)

    def runtime(self, db: MySql) -> Runtime:
        settings = Settings(var_dir=self.home / "var")
        return Runtime(settings, db, BarLake(self.store, locks=db), 1.0, lambda line: None)

    @property
    def root(self) -> Path:
        return streams_root(self.rt.settings.spool_dir)

    def spool(self, *entries: Entry, consumer: str = "one") -> None:
        writer = SegmentWriter(self.root, consumer)
        for at in range(0, len(entries), 50):
            writer.append(entries[at : at + 50])
        writer.close()

    def publish(self, **options: Any) -> PublishReport:
        return publish_closed(self.rt, **{"now_ms": LATER + HOUR_MS, **options})

    def published(self, **options: Any) -> StreamHourReceipt:
        """The receipt of the one hour there is to publish."""
        report = self.publish(**options)
        assert not report.errors, report.errors
        (receipt,) = report.hours
        return receipt

    def rows(self, dataset: str, columns: str = "symbol, trade_id") -> list[tuple[Any, ...]]:
        """As a stranger reads them: DuckDB over the whole folder."""
        query = f"SELECT {columns} FROM read_parquet('{self.home}/lake/{dataset}/**/*.parquet') ORDER BY ALL"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(query).fetchall()

    def objects(self) -> dict[str, bytes]:
        return {
            stat.key: self.store.get(stat.key) or b""
            for name in ("trades", "mark_price")
            for stat in self.store.list(name)
        }

    def books(self, query: str) -> list[tuple[Any, ...]]:
        with self.db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def archive(tmp_path: Path, mariadb_database: MySql) -> Archive:
    return Archive(tmp_path, mariadb_database)


def in_a_child(archive: Archive, work: Callable[[], None]) -> int:
    """Run it in a process of its own, with connections of its own; how that ended."""
    url = archive.db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    pid = os.fork()
    if not pid:
        try:
            archive.rt = archive.runtime(MySql(url))
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def some_trades(count: int = 300) -> list[Entry]:
    return [trade(number, symbol=SYMBOLS[number % 4], a=number // 4 + 1) for number in range(count)]


def test_an_hour_is_in_the_lake_once_and_out_of_the_spool(tmp_path: Path, database: MySql) -> None:
    archive, trades = Archive(tmp_path, database), some_trades()
    shuffled = random.Random(1).sample(trades, len(trades))
    archive.spool(*shuffled, *shuffled[:40])
    receipt = archive.published()
    assert (receipt.entries, receipt.added, receipt.duplicates, receipt.quarantined) == (340, 300, 40, 0)
    assert archive.rows("trades") == sorted((entry.symbol, json.loads(entry.payload)["a"]) for entry in trades)
    assert spooled_hours(archive.root) == []
    assert not list((tmp_path / "var").rglob("*.run")), "work files outlive no call"
    told = archive.books("SELECT uri, dataset, period_start, `rows`, state FROM archive_receipt ORDER BY uri")
    assert [str(row[0]).rpartition("/lake/")[2] for row in told] == sorted(each.key for each in receipt.objects)
    assert {(row[1], str(row[2]), row[4]) for row in told} == {("trades", "2026-11-20 16:00:00", "verified")}
    assert sum(row[3] for row in told) == 300
    (check,) = archive.books("SELECT kind, dataset, state, result FROM check_run")
    assert check[:3] == ("stream_archive", "trades", "clean")
    assert json.loads(check[3])["spool_bytes"] == receipt.spool_bytes > 0


def test_values_are_exact_and_sorted_for_any_reader(archive: Archive) -> None:
    archive.spool(trade(3, p="83434.40000001"), trade(1), trade(2))
    archive.publish()
    rows = archive.rows("trades", "ts::VARCHAR, trade_id, price, quantity, buyer_is_maker, received_ns")
    assert [row[1] for row in rows] == [1, 2, 3]
    assert str(rows[2][2]) == "83434.40000001"
    assert (str(rows[0][3]), rows[0][4], rows[0][5]) == ("0.50000001", True, (HOUR + 1_120) * 10**6)


def test_the_object_says_which_hour_the_trade_happened_in(archive: Archive) -> None:
    last = trade(1, at_ms=HOUR + HOUR_MS - 10)  # sent in the next hour
    archive.spool(last)
    receipt = archive.published()
    assert receipt.hour == "2026-11-20T17:00:00Z"
    assert [each.key[:28] for each in receipt.objects] == ["trades/binance-2026-11-20T16"]


def test_late_entries_are_merged_in_and_nothing_new_writes_nothing(archive: Archive) -> None:
    trades = some_trades()
    archive.spool(*trades[::2])
    archive.publish()
    archive.spool(*trades[1::2])
    assert archive.published().added == 150
    before = {stat.key: stat.etag for stat in archive.store.list("trades")}
    archive.spool(*trades[:50])
    again = archive.published()
    assert (again.added, again.duplicates) == (0, 50)
    assert not any(each.written for each in again.objects)
    assert {stat.key: stat.etag for stat in archive.store.list("trades")} == before


def test_the_order_and_cut_in_which_entries_come_do_not_show(tmp_path: Path, mariadb_database: MySql) -> None:
    trades = some_trades(200)
    one, two = (Archive(tmp_path / name, mariadb_database) for name in ("one", "two"))
    one.spool(*trades)
    one.publish()
    for part in (trades[150:], trades[:10], trades[5:150]):
        two.spool(*random.Random(2).sample(part, len(part)))
        for hour in spooled_hours(two.root):
            publish.publish_hour(two.rt, hour, run_rows=16)
    assert one.objects() == two.objects()


def test_a_symbol_larger_than_memory_is_merged_in_slices(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    from gapless.storage.lake import hours

    slices = hours.HourLake.__init__.__kwdefaults__
    assert slices is not None
    monkeypatch.setitem(slices, "piece_rows", 7)
    trades = [trade(number) for number in range(1, 201)]
    archive.spool(*trades[::3], *trades[1::3])
    archive.publish()
    archive.spool(*trades)
    receipt = archive.published()
    assert (receipt.added, receipt.hole_count) == (66, 0)
    assert [row[1] for row in archive.rows("trades")] == list(range(1, 201))
    monkeypatch.undo()
    archive.spool(trades[0])
    assert archive.published().duplicates == 1


def test_what_says_something_else_under_a_known_id_is_kept_apart(archive: Archive) -> None:
    archive.spool(trade(1), trade(2))
    archive.publish()
    archive.spool(trade(1, p="1.00"), trade(2))
    receipt = archive.published()
    assert (receipt.conflicts, receipt.quarantined, receipt.duplicates) == (1, 1, 1)
    assert [str(row[0]) for row in archive.rows("trades", "price")] == ["101.01000000", "102.02000000"]
    ((reason, payload),) = archive.books("SELECT reason, payload FROM quarantine")
    assert reason == "conflict"
    assert "1.00" in payload


def test_what_cannot_be_taken_is_in_quarantine_with_its_payload(archive: Archive) -> None:
    bad = [trade(2, p="0.123456789"), trade(3, s="ETHUSDT"), mark(1, r="x")]
    archive.spool(trade(1), *bad, mark(2))
    report = archive.publish()
    assert sum(hour.quarantined for hour in report.hours) == 3
    found = archive.books("SELECT dataset, reason, payload FROM quarantine ORDER BY dataset DESC, reason")
    assert [row[:2] for row in found] == [("trades", "precision"), ("trades", "symbol"), ("mark_price", "type")]
    assert {row[2].encode() for row in found} == {entry.payload for entry in bad}


def test_liquidations_of_a_millisecond_are_numbered_the_same_whichever_came_first(archive: Archive) -> None:
    first, second, third = (liquidation(HOUR + 5, quantity) for quantity in ("9", "10", "11"))
    archive.spool(third, first)
    archive.publish()
    archive.spool(second, first)
    archive.publish()
    rows = archive.rows("liquidations", "sequence, quantity::INT")
    assert rows == [(0, 9), (1, 10), (2, 11)]


def test_missing_ids_are_told_with_what_the_events_say(archive: Archive) -> None:
    numbers = [1, 2, *range(5, 201), 1000]
    archive.spool(*(trade(number) for number in numbers), loss(HOUR + 3_500))
    report = archive.publish()
    trades = next(hour for hour in report.hours if hour.kind == "trades")
    assert [(hole.first_id, hole.last_id, hole.cause) for hole in trades.holes] == [
        (3, 4, "reconnect: cut"),
        (201, 999, ""),
    ]
    assert (trades.hole_ids, trades.unexplained) == (801, 1)
    assert not report.good
    assert archive.books("SELECT state FROM check_run WHERE dataset = 'trades'") == [("dirty",)]
    assert archive.rows("stream_gap", "symbol, kind, reason") == [(SYMBOLS[0], "trades", "reconnect")]


def test_an_event_that_names_the_ids_explains_them_at_any_distance_and_none_of_another_hole(archive: Archive) -> None:
    later = HOUR + HOUR_MS // 2
    archive.spool(
        *(trade(number) for number in (1, 4, 8, 12, 20)),
        loss(later, reason="hole", first="2", last="7", count=5, detail=""),
        loss(later + 900, reason="hole", first="2", last="7", count=3, repaired=True, detail="brought"),
        loss(later + 900, reason="hole", first="5", last="6", count=2, detail="too old"),
        loss(later + 900, reason="hole", first="9", last="11", count=0, repaired=True, detail="never given"),
    )
    report = archive.publish()
    trades = next(hour for hour in report.hours if hour.kind == "trades")
    assert [(hole.first_id, hole.last_id, hole.cause) for hole in trades.holes] == [
        (2, 3, ""),  # told as brought, and not there
        (5, 7, "hole: too old"),
        (9, 11, "hole: never given"),
        (13, 19, ""),
    ]
    stored = archive.rows("stream_gap", "first_identity, last_identity, repaired")
    assert sorted(stored) == [("2", "7", False), ("2", "7", True), ("5", "6", False), ("9", "11", True)]


def test_holes_between_hours_are_told_and_those_filled_late_are_not(archive: Archive) -> None:
    next_hour = [trade(number, at_ms=HOUR + HOUR_MS + number) for number in (10, 11)]
    archive.spool(trade(1), trade(2))
    archive.publish()
    archive.spool(*next_hour)
    (hole,) = archive.published().holes
    assert (hole.first_id, hole.last_id, hole.before) == (3, 9, "2026-11-20T17:00:00.010000Z")
    archive.spool(*(trade(number) for number in range(3, 9)))
    (left,) = archive.published().holes
    assert (left.first_id, left.last_id) == (9, 9)
    archive.spool(trade(9))
    assert archive.published().holes == ()


def test_an_hour_that_is_not_over_waits(archive: Archive) -> None:
    archive.spool(trade(1))
    report = archive.publish(now_ms=LATER - 1)
    assert [(each.kind, each.why) for each in report.waiting] == [("trades", "open")]
    with pytest.raises(NotYet, match="2026-11-20T17:05:00Z"):
        archive.publish(now_ms=LATER - 1, hour_ms=HOUR)
    assert archive.publish(now_ms=LATER, dry_run=True).waiting[0].why == "closed"
    assert archive.publish(now_ms=LATER).hours[0].added == 1


def test_files_that_are_being_written_are_left_to_their_writer(archive: Archive) -> None:
    writer = SegmentWriter(archive.root, "alive")
    writer.append([trade(1)])
    writer.sync()
    assert archive.publish().waiting[0].why == "writing"
    writer.close()
    assert archive.published().added == 1


def test_a_file_damaged_in_its_middle_is_kept_whole_and_the_rest_of_it_told(archive: Archive) -> None:
    archive.spool(*some_trades(200))
    (file,) = hour_folder(archive.root, Kind.TRADES, "binance", HOUR).iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    report = archive.publish()
    assert not report.good
    (receipt,) = report.hours
    assert 0 < receipt.added < 200
    assert archive.store.get(receipt.damaged[0]) == bytes(data)
    assert not file.exists()


def test_a_store_that_gives_other_bytes_back_leaves_the_spool_as_it_was(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.spool(*some_trades(20))
    honest = FileStore.put

    def lying(self: FileStore, key: str, data: bytes, **options: Any) -> Any:
        return honest(self, key, data[:-9] + b"X" + data[-8:] if key.startswith("trades/") else data, **options)

    monkeypatch.setattr(FileStore, "put", lying)
    report = archive.publish()
    assert [error.kind for error in report.errors] == ["damaged"]
    assert spooled_hours(archive.root)[0].files == 1
    monkeypatch.undo()
    for stat in list(archive.store.list("trades/")):
        archive.store.delete(stat.key)  # as the message says: moved away by hand
    assert archive.published().added == 20


def test_a_store_that_is_away_is_asked_once_and_everything_stays(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.spool(trade(1), mark(1))
    calls: list[str] = []

    def away(self: FileStore, key: str, *rest: Any, **options: Any) -> Any:
        calls.append(key)
        raise StorageError("the lake does not answer")

    monkeypatch.setattr(FileStore, "put", away)
    report = archive.publish()
    assert len(calls) == 1
    assert [error.kind for error in report.errors] == ["storage"]
    assert [each.why for each in report.waiting] == ["closed"]
    assert len(spooled_hours(archive.root)) == 2


@pytest.mark.parametrize("where", ["sorting", "writing the object"])
def test_a_full_disk_leaves_the_spool_as_it_was(where: str, archive: Archive) -> None:
    stored = range(1, 1001) if where == "writing the object" else range(1, 2)
    archive.spool(*(trade(number) for number in stored))
    archive.publish()
    before = archive.objects()
    archive.spool(*(trade(number) for number in range(1001, 1003)))
    limit = 1_000 if where == "sorting" else max(map(len, before.values())) - 1

    def short_of_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        (error,) = archive.publish().errors
        os._exit(7 if error.kind == "storage" and "make room" in error.message else 1)

    assert os.waitstatus_to_exitcode(in_a_child(archive, short_of_room)) == 7
    assert archive.objects() == before
    assert not [path for path in archive.rt.settings.spool_dir.rglob("*") if path.suffix in (".run", ".hour")]
    assert archive.published().added == 2


def test_two_publishers_of_one_hour_exclude_each_other(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.spool(trade(1))
    monkeypatch.setattr(publish, "LOCK_S", 0.05)
    seen: list[PublishReport] = []
    inner = seal

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(publish, "seal", inner)
        seen.append(archive.publish())
        return inner(*arguments)

    monkeypatch.setattr(publish, "seal", meanwhile)
    assert archive.published().added == 1
    assert [error.kind for error in seen[0].errors] == ["storage"]


def after(module: Any, name: str, *, calls: int = 1) -> Callable[[], None]:
    """Have this process killed right after a function of a module returned the n-th time."""

    def arm() -> None:
        inner, left = getattr(module, name), [calls]

        def fatal(*arguments: Any, **options: Any) -> Any:
            found = inner(*arguments, **options)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(module, name, fatal)

    return arm


@pytest.mark.parametrize(
    "arm",
    [
        after(publish, "seal"),
        after(publish, "rows_of", calls=2),
        after(FileStore, "put"),
        after(FileStore, "put", calls=3),
        after(publish, "put_archive_receipts"),
        after(publish, "put_check"),
        after(Path, "unlink", calls=4),
        after(closed, "publish_hour"),
    ],
    ids=["sealed", "reading", "put", "third put", "entered", "checked", "removing", "done"],
)
def test_killed_anywhere_and_run_again_the_lake_is_that_of_an_undisturbed_run(
    arm: Callable[[], None], tmp_path: Path, mariadb_database: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_PARSED_AT_ONCE", 50)
    trades: Sequence[Entry] = some_trades(160)
    calm, killed = (Archive(tmp_path / name, mariadb_database) for name in ("calm", "killed"))
    for archive in (calm, killed):
        archive.spool(*trades[:100], consumer="one")
        archive.spool(*trades[90:], mark(1), consumer="two")
    calm.publish()

    def die() -> None:
        arm()
        killed.publish()

    assert in_a_child(killed, die) == signal.SIGKILL
    killed.publish()
    assert killed.objects() == calm.objects()
    assert spooled_hours(killed.root) == []
    assert not list(killed.rt.settings.spool_dir.rglob("*.run")), "what the dead left is swept"
    count = "SELECT COUNT(*), SUM(`rows`) FROM archive_receipt WHERE uri LIKE '%/{}/%'"
    assert killed.books(count.format("killed")) == killed.books(count.format("calm"))


def test_streams_are_published_to_s3(tmp_path: Path, mariadb_database: MySql, s3_server: Any) -> None:
    store = s3_server.store(f"streams-{tmp_path.parent.name}-{tmp_path.name}")
    archive, trades = Archive(tmp_path, mariadb_database, store), some_trades(60)
    archive.spool(*trades[:40])
    first = archive.publish()
    archive.spool(*trades[30:])
    assert archive.published().added == 20
    assert sum(each.rows for each in archive.publish().hours) == 0
    assert {stat.key for stat in store.list("trades/")} == {each.key for each in first.hours[0].objects}


def test_what_the_streams_held_is_in_the_lake(archive: Archive, redis_url: str) -> None:
    trades, told = some_trades(40), [mark(1), loss(HOUR + 3_500)]
    redis: Any = Redis.from_url(redis_url)
    for entry in (*trades, *told[:1], *trades[:5]):
        redis.xadd(stream_key(entry.kind, entry.exchange, entry.symbol), dict(fields_of(entry)))
    redis.xadd(GAPS_KEY, dict(gap_fields(msgspec.json.decode(told[1].payload, type=GapEvent))))
    taker = Taker(
        open_streams(redis_url, "one"),
        archive.rt.settings.spool_dir,
        DEFAULT_KINDS,
        consumer="one",
        stream_bounds=StreamBounds(),
        spool_bounds=SpoolBounds(),
        say=lambda line: None,
    )
    taker.once()
    report = archive.publish()
    assert {hour.kind: (hour.added, hour.duplicates) for hour in report.hours} == {
        "gaps": (1, 0),
        "mark_price": (1, 0),
        "trades": (40, 5),
    }
    assert report.good
    assert len(archive.rows("trades")) == 40
    assert archive.rows("mark_price", "symbol, funding_rate::VARCHAR") == [(SYMBOLS[0], "-0.000053010000")]


def test_what_publishing_enters_breaks_no_rule_of_the_daily_suites(archive: Archive) -> None:
    archive.spool(trade(1), trade(9), trade(2, p="x"), mark(1), loss(HOUR + 1))
    assert len(archive.publish().hours) == 3
    for suite in (ARCHIVE_RECEIPT, QUARANTINE, CHECK_RUN):
        assert archive.books(f"SELECT COUNT(*) FROM {suite.table}") != [(0,)]
        for rule in suite.rules:
            if isinstance(rule, Rows):
                asked = rule.query.format(batch=suite.table) or (
                    f"SELECT 1 FROM {suite.table} WHERE {rule.where.replace('{{', '{').replace('}}', '}')}"
                )
                assert archive.books(asked.replace(":", "\\:")) == [], f"{suite.name}: {rule.name}"


def test_the_command_publishes_and_says_so(archive: Archive) -> None:
    url = archive.db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    around = {
        **os.environ,
        "GAPLESS_MYSQL_URL": url,
        "GAPLESS_VAR_DIR": str(archive.home / "var"),
        "GAPLESS_LAKE_URI": f"file://{archive.home}/lake",
    }

    def command(*words: str) -> tuple[int, str, str]:
        whole = [sys.executable, "-m", "gapless", "publish-streams", *words]
        done = run_forked(whole, env=around, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    archive.spool(*(trade(number) for number in (1, 2, 5)))
    status, said, _ = command("--dry-run")
    assert status == 0
    assert "trades binance 2026-11-20T16:00:00Z" in said
    assert command("--hour", "2026-11-20T16:30")[0] == 2
    assert "2099-01-01T01:05:00Z" in command("--hour", "2099-01-01")[2]
    status, said, _ = command("--json")
    assert status == 1, "trades are missing and nothing says why"
    report = json.loads(said)
    assert (report["hours"][0]["added"], report["hours"][0]["hole_ids"]) == (3, 2)
    status, said, _ = command()
    assert (status, said.startswith("0 hours published")) == (0, True)
