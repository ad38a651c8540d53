"""Bars into the table: exact, idempotent, with every change on record."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import Connection, text

from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES, Source, content_digest
from gapless.domain.window import Window
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql import (
    MySql,
    RefusedRow,
    bulk,
    count_outranked,
    count_restatements,
    load_bars,
    load_coverage,
    loader,
    read_bars,
    record_quarantine,
)
from gapless.storage.mysql.bulk import Sent
from gapless.storage.mysql.reader import Span
from gapless.storage.mysql.receipts import receipt_id
from tests.storage.mysql.bars import DAY, HOUR, draft_for, make_bars, with_source, with_value

BTC, CHINESE = "BTC/USDT:USDT", "币安人生/USDT:USDT"


def rows(database: MySql, statement: str) -> list[tuple[object, ...]]:
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def read_all(database: MySql, bars: pa.Table, window: Window = DAY) -> pa.Table:
    return read_bars(database, bars["symbol"].unique().to_pylist(), ALL_INTERVALS, window)


def test_bars_come_back_as_they_went_in(database: MySql) -> None:
    bars = make_bars([BTC, CHINESE, 'Q"U,O\\T/USDT:USDT'], DAY, ALL_INTERVALS)
    bars = with_value(bars, 0, "open", Decimal("999999999999.99999999"))
    bars = with_value(bars, 1, "low", Decimal("0.00000001"))
    bars = with_value(bars, 2, "volume", Decimal("99999999999999999999.99999999"))
    bars = with_value(bars, 3, "trades", 2**32 - 1)
    outcome = load_bars(database, bars, draft_for(bars))
    assert outcome.counts.loaded == outcome.counts.rows == bars.num_rows
    back = read_all(database, bars)
    assert back.schema == OHLCV
    assert back.equals(bars)
    assert content_digest(back) == content_digest(bars)
    assert rows(database, "SELECT DISTINCT receipt_id, exchange FROM ohlcv") == [(outcome.receipt_id, "binance")]
    exact = "SELECT CAST(low AS CHAR), CAST(open AS CHAR) FROM ohlcv WHERE low = 0.00000001"
    assert ("0.00000001", f"{bars['open'][1].as_py():.8f}") in rows(database, exact)


def test_a_real_month_is_stored_to_the_exchange_own_digits(database: MySql, recordings: Path) -> None:
    file = sorted((recordings / "klines_1m" / "um_futures_vision_csv").glob("*.csv"))[0]
    with file.open() as source:
        lines = list(csv.DictReader(source))[:20_000]
    theirs = {"trades": "count", "ts": "open_time"}
    columns = {
        "exchange": pa.repeat("binance", len(lines)),
        "symbol": pa.repeat(BTC, len(lines)),
        "interval": pa.repeat("1m", len(lines)),
        "ts": pa.array([int(line["open_time"]) for line in lines], pa.int64()).cast(OHLCV.field("ts").type),
        "source": pa.repeat(pa.scalar(int(Source.VISION), pa.uint8()), len(lines)),
    }
    for name in OHLCV_VALUES:
        texts = [line[theirs.get(name, name)] for line in lines]
        kind = OHLCV.field(name).type
        columns[name] = pa.array([int(t) for t in texts] if name == "trades" else [Decimal(t) for t in texts], kind)
    bars = pa.table([columns[name] for name in OHLCV.names], schema=OHLCV)
    window = Window(int(lines[0]["open_time"]), int(lines[-1]["open_time"]) + 60_000)
    load_bars(database, bars, draft_for(bars, window))
    names = ", ".join(f"CAST({name} AS CHAR)" for name in OHLCV_VALUES)
    stored = rows(database, f"SELECT {names} FROM ohlcv ORDER BY ts")
    sent = [tuple(Decimal(line[theirs.get(name, name)]) for name in OHLCV_VALUES) for line in lines]
    assert [tuple(Decimal(str(value)) for value in row) for row in stored] == sent


def test_loading_the_same_again_writes_nothing(database: MySql) -> None:
    alone = MySql(database.engine.url.set(drivername="mysql").render_as_string(hide_password=False), pool_size=1)
    bars = make_bars([BTC, CHINESE], DAY, ALL_INTERVALS)
    first = load_bars(alone, bars, draft_for(bars))
    before = rows(database, "SELECT * FROM load_receipt")
    writes = "SHOW SESSION STATUS WHERE Variable_name IN ('Com_load', 'Com_insert', 'Com_replace', 'Com_update')"
    counted = rows(alone, writes)
    again = load_bars(alone, bars, draft_for(bars))
    assert rows(alone, writes) == counted  # on the one connection there is
    assert (again.receipt_id, again.added, again.counts.unchanged) == (first.receipt_id, False, bars.num_rows)
    assert rows(database, "SELECT * FROM load_receipt") == before
    alone.close()


def test_a_restated_bar_replaces_the_old_one_and_both_are_on_record(database: MySql) -> None:
    bars = make_bars([BTC, CHINESE], DAY)
    first = load_bars(database, bars, draft_for(bars))
    at = bars.num_rows - 5
    changed = with_value(with_value(bars, at, "volume", Decimal("7.00000001")), at, "trades", 3)
    second = load_bars(database, changed, draft_for(changed))
    assert (second.counts.restated, second.counts.unchanged, second.counts.loaded) == (1, bars.num_rows - 1, 0)
    assert second.receipt_id == receipt_id("0123456789abcdef", 1) != first.receipt_id
    assert read_all(database, bars).equals(changed)
    [row] = rows(
        database,
        "SELECT symbol, `interval`, ts, store, old_values, new_values, old_source, new_source, old_receipt_id, "
        "receipt_id FROM restatement",
    )
    assert row[:2] == (CHINESE, "1m")
    assert row[2] == bars["ts"][at].as_py().replace(tzinfo=None)
    assert row[3] == "mysql"
    old, new = json.loads(str(row[4])), json.loads(str(row[5]))
    assert list(old) == list(new) == list(OHLCV_VALUES)
    assert (old["volume"], new["volume"], new["trades"]) == (f"{bars['volume'][at].as_py():.8f}", "7.00000001", "3")
    assert row[6:] == (1, 1, first.receipt_id, second.receipt_id)
    # Only the changed bar belongs to the second receipt.
    assert rows(database, f"SELECT COUNT(*) FROM ohlcv WHERE receipt_id = {second.receipt_id}") == [(1,)]


def test_a_lower_rank_never_replaces_and_is_counted(database: MySql) -> None:
    settled = make_bars([BTC], HOUR, source=Source.REST)
    load_bars(database, settled, draft_for(settled))
    streamed = make_bars([BTC], HOUR, seed=1, source=Source.STREAM)
    outcome = load_bars(database, streamed, draft_for(streamed, key="f" * 16))
    assert (outcome.counts.outranked, outcome.counts.restated) == (60, 0)
    assert read_all(database, settled).equals(settled)
    assert (count_restatements(database), count_outranked(database)) == ({}, {"mysql": 60})


def test_a_refusal_is_on_record_once_with_what_stands(database: MySql) -> None:
    settled = make_bars([BTC], HOUR, source=Source.REST)
    first = load_bars(database, settled, draft_for(settled))
    archived = with_source(with_value(settled, 3, "close", Decimal("0.5")), Source.VISION)
    streamed = with_source(with_value(settled, 3, "close", Decimal("0.25")), Source.STREAM)
    [second, third] = [
        load_bars(database, bars, draft_for(bars, key=key * 16)) for bars, key in ((archived, "b"), (streamed, "c"))
    ]
    for bars, key in ((archived, "b"), (streamed, "c"), (archived, "d")):
        again = load_bars(database, bars, draft_for(bars, key=key * 16))
        assert again.added == (key == "d")  # a batch that has no receipt yet
    noted = rows(
        database,
        "SELECT applied, store, old_values, new_values, old_source, new_source, old_receipt_id, receipt_id "
        "FROM restatement ORDER BY id",
    )
    stands = f"{settled['close'][3].as_py():.8f}"
    assert [(row[0], row[1]) for row in noted] == [(0, "mysql")] * 2
    assert [json.loads(str(row[2]))["close"] for row in noted] == [stands, stands]
    assert [json.loads(str(row[3]))["close"] for row in noted] == ["0.50000000", "0.25000000"]
    rest, vision, stream = (int(source) for source in (Source.REST, Source.VISION, Source.STREAM))
    assert [row[4:6] for row in noted] == [(rest, vision), (rest, stream)]
    assert [row[6:] for row in noted] == [(first.receipt_id, second.receipt_id), (first.receipt_id, third.receipt_id)]
    # What stands has changed: that the archive differs from that too is news.
    restated = with_value(settled, 3, "close", Decimal("0.75"))
    load_bars(database, restated, draft_for(restated, key="e" * 16))
    load_bars(database, archived, draft_for(archived, key="f" * 16))
    assert (count_restatements(database), count_outranked(database)) == ({"mysql": 1}, {"mysql": 3})


def test_a_settled_word_confirms_what_the_stream_had_right(database: MySql) -> None:
    streamed = make_bars([BTC], HOUR, source=Source.STREAM)
    load_bars(database, streamed, draft_for(streamed))
    settled = with_source(streamed, Source.REST)
    outcome = load_bars(database, settled, draft_for(settled, key="f" * 16))
    assert (outcome.counts.unchanged, outcome.counts.restated) == (60, 0)
    assert read_all(database, settled).equals(settled)  # the rank is kept, so that no later stream bar replaces it
    assert rows(database, "SELECT COUNT(*) FROM restatement") == [(0,)]


def test_a_window_without_bars_leaves_a_receipt_too(database: MySql) -> None:
    bars = make_bars([BTC], HOUR)
    outcome = load_bars(database, bars.slice(0, 0), draft_for(bars, HOUR))
    assert (outcome.added, outcome.counts.rows) == (True, 0)
    [covered] = load_coverage(database, "binance", draft_for(bars).market, DAY)
    assert (covered.window, covered.symbols, covered.intervals) == (HOUR, {BTC}, {"1m"})


def test_a_window_that_is_complete_at_last_gets_a_receipt_and_only_then_counts(database: MySql) -> None:
    bars = make_bars([BTC], HOUR)
    market = draft_for(bars).market
    load_bars(database, bars, draft_for(bars, HOUR, complete=False))
    assert load_coverage(database, "binance", market, DAY) == []
    again = load_bars(database, bars, draft_for(bars, HOUR, complete=False))
    assert not again.added
    done = load_bars(database, bars, draft_for(bars, HOUR))
    assert done.added
    assert [covered.window for covered in load_coverage(database, "binance", market, DAY)] == [HOUR]
    assert not load_bars(database, bars, draft_for(bars, HOUR)).added
    # An incomplete reading that comes late takes nothing back.
    assert not load_bars(database, bars, draft_for(bars, HOUR, complete=False)).added
    assert load_coverage(database, "binance", market, Window.of("2026-11-18", "2026-11-19")) == []


def test_refused_rows_are_stored_once_with_their_payload(database: MySql) -> None:
    bars = make_bars([BTC], HOUR)
    refused = [
        RefusedRow("binance", CHINESE, "1m", HOUR.start_ms, "precision", '[1, "0.123456789"]', "open has 9 decimals"),
        RefusedRow("binance", BTC, "1m", None, "json", "<html>\ud800"),
        RefusedRow("binance", BTC, "1m", 10**18, "time", "[]"),
    ]
    first = load_bars(database, bars, draft_for(bars), refused=refused)
    assert first.counts.quarantined == 3
    assert not load_bars(database, bars, draft_for(bars), refused=refused).added
    assert record_quarantine(database, refused, "e" * 16) == 0
    kept = rows(database, "SELECT symbol, ts, reason, payload FROM quarantine ORDER BY reason")
    assert [row[0] for row in kept] == [BTC, CHINESE, BTC]
    assert kept[1][1] == HOUR.start.replace(tzinfo=None)
    assert kept[1][3] == '[1, "0.123456789"]'
    assert kept[0][3] == "<html>?"
    assert kept[2][1] is None


def test_bars_of_another_market_than_the_draft_says_are_refused(database: MySql) -> None:
    bars = make_bars(["BTC/USDT"], HOUR)
    with pytest.raises(ValidationError, match="these are rows of binance spot"):
        load_bars(database, bars, draft_for(make_bars([BTC], HOUR)))


def test_a_row_that_another_program_slips_in_stops_the_load(database: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may write but under the lock; whoever does is noticed by the server's own count."""
    bars = make_bars([BTC], HOUR)
    real = bulk.replace_rows

    def slip_in(
        connection: Connection, table: str, offered: pa.Table, constants: dict[str, int | str], what: str
    ) -> Sent:
        real(connection, table, offered.slice(0, 1), {**constants, "receipt_id": 1}, what)
        return real(connection, table, offered, constants, what)

    monkeypatch.setattr("gapless.storage.mysql.loader.replace_rows", slip_in)
    with pytest.raises(
        StorageError, match="60 rows were to be written, 0 of them over stored ones, but MySQL says 60 and 1"
    ):
        load_bars(database, bars, draft_for(bars))
    assert rows(database, "SELECT COUNT(*) FROM ohlcv") == [(0,)]
    assert rows(database, "SELECT COUNT(*) FROM load_receipt") == [(0,)]


def test_a_days_bar_does_not_make_the_minutes_of_the_day_be_read(
    database: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Span] = []
    real = loader.read_stored
    monkeypatch.setattr(loader, "read_stored", lambda *args: real(*args[:-1], asked.extend(args[-1]) or asked))
    bars = pa.concat_tables([make_bars([BTC], DAY, [Interval.D1]), make_bars([BTC], HOUR)])
    load_bars(database, bars, draft_for(bars))
    spans = {interval: last - first for interval, first, last in asked}
    assert spans == {Interval.M1: 59 * 60_000 + 1000, Interval.D1: 1000}
