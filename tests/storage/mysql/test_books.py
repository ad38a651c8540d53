"""The books: instruments, origin, coverage, the lake's receipts and restatements, and the numbers of a summary."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, HOUR_MS, Window
from gapless.errors import NotFound, OriginMismatch, ValidationError
from gapless.storage.mysql import (
    Coverage,
    Draft,
    Life,
    MarketRows,
    MySql,
    RefusedRow,
    Scope,
    SeriesRows,
    claim_origin,
    count_days,
    count_markets,
    count_quarantined,
    count_restatements,
    count_series,
    learn_lifetime,
    load_bars,
    load_coverage,
    load_rows,
    log_lake_restatements,
    put_archive_receipts,
    read_instruments,
    read_lives,
    read_opens,
    read_origin,
    record_archived,
    record_listing,
    record_quarantine,
)
from tests.storage.mysql.bars import DAY, HOUR, draft_for, make_bars, with_value
from tests.storage.mysql.rows import draft_of, make_rows

T0 = 1_700_000_000_123
CHINESE = Instrument(
    "binance",
    "币安人生/USDT:USDT",
    Market.UM,
    "币安人生USDT",
    "币安人生",
    "USDT",
    "TRADING",
    Decimal("0.00000100"),
    Decimal("1"),
    1000,
    T0,
)
BTC = replace(CHINESE, symbol="BTC/USDT:USDT", raw_symbol="BTCUSDT", base="BTC", tick_size=None, contract_multiplier=1)
SPOT = replace(BTC, symbol="BTC/USDT", market=Market.SPOT, listed_ms=None, step_size=Decimal("1E-8"))


def test_instruments_are_kept_exactly_and_for_ever(database: MySql) -> None:
    assert record_listing(database, "binance", Market.UM, [BTC, CHINESE], now_ms=T0) == [BTC, CHINESE]
    record_listing(database, "binance", Market.SPOT, [SPOT], now_ms=T0)
    assert read_instruments(database, "binance", Market.UM) == [BTC, CHINESE]
    assert read_instruments(database, "binance") == [SPOT, BTC, CHINESE]
    [spot] = read_instruments(database, "binance", Market.SPOT)
    assert f"{spot.step_size:f}" == "0.00000001"
    record_listing(database, "binance", Market.UM, [BTC], now_ms=T0 + DAY_MS)
    gone = read_instruments(database, "binance", Market.UM)[1]
    assert (gone.symbol, gone.delisted_ms, gone.trading) == (CHINESE.symbol, T0 + DAY_MS, False)
    back = replace(CHINESE, listed_ms=T0 + 30 * DAY_MS)
    record_listing(database, "binance", Market.UM, [BTC, back], now_ms=T0 + 30 * DAY_MS)
    assert read_lives(database, "binance", Market.UM) == {
        BTC.symbol: (Life("BTCUSDT", T0, None),),
        CHINESE.symbol: (Life("币安人生USDT", T0, T0 + DAY_MS), Life("币安人生USDT", T0 + 30 * DAY_MS, None)),
    }
    assert read_lives(database, "binance", Market.SPOT) == {SPOT.symbol: (Life("BTCUSDT", None, None),)}


def test_a_whole_universe_is_recorded_by_two_at_once(database: MySql) -> None:

    def record() -> None:
        record_listing(database, "binance", Market.UM, listing, now_ms=T0)

    listing = [replace(BTC, symbol=f"C{n}/USDT:USDT", raw_symbol=f"C{n}USDT", base=f"C{n}") for n in range(650)]
    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert read_instruments(database, "binance") == sorted(listing, key=lambda one: one.symbol)


def test_the_archives_dead_are_recorded_beside_the_listed(database: MySql) -> None:
    record_listing(database, "binance", Market.UM, [BTC], now_ms=T0)
    dead = replace(CHINESE, status="", tick_size=None, step_size=None, listed_ms=None, delisted_ms=None)
    spot = replace(SPOT, symbol="LUNA/USDT", raw_symbol="LUNAUSDT", base="LUNA", step_size=None)
    for _ in range(2):
        record_archived(database, [replace(BTC, status="", listed_ms=1), dead, spot])
    vanished = [replace(one, status="DELISTED") for one in (dead, spot)]
    assert read_instruments(database, "binance") == sorted([BTC, *vanished], key=lambda one: one.symbol)
    learn_lifetime(database, "binance", CHINESE.symbol, listed_ms=T0, delisted_ms=T0 + DAY_MS)
    learn_lifetime(database, "binance", CHINESE.symbol, listed_ms=T0 - 1, delisted_ms=T0 + 9 * DAY_MS)
    learn_lifetime(database, "binance", spot.symbol, delisted_ms=T0 + DAY_MS)
    record_listing(database, "binance", Market.UM, [BTC], now_ms=T0 + 30 * DAY_MS)
    record_archived(database, [dead, spot])
    assert read_lives(database, "binance") == {
        BTC.symbol: (Life("BTCUSDT", T0, None),),
        spot.symbol: (Life("LUNAUSDT", None, T0 + DAY_MS),),
        CHINESE.symbol: (Life(CHINESE.raw_symbol, T0, T0 + DAY_MS),),
    }


def test_a_lifetime_of_nobody_cannot_be_learnt(mariadb_database: MySql) -> None:
    with pytest.raises(NotFound, match="binance BTC/USDT is not on record"):
        learn_lifetime(mariadb_database, "binance", "BTC/USDT", listed_ms=T0)
    with pytest.raises(NotFound, match="BTCUSDT is no unified symbol"):
        learn_lifetime(mariadb_database, "binance", "BTCUSDT", listed_ms=T0)


def test_the_first_origin_stays(database: MySql) -> None:
    assert read_origin(database) is None
    claim_origin(database, "replica:42")
    claim_origin(database, "replica:42")
    with pytest.raises(OriginMismatch, match="holds data of origin 'replica:42'; data of origin 'binance' is refused"):
        claim_origin(database, "binance")
    assert read_origin(database) == "replica:42"


def test_of_two_origins_claimed_at_once_one_wins(database: MySql) -> None:
    refused: list[str] = []

    def claim(origin: str) -> None:
        try:
            claim_origin(database, origin)
        except OriginMismatch:
            refused.append(origin)

    origins = ["binance", "replica:1", "replica:2"]
    threads = [threading.Thread(target=claim, args=(origin,)) for origin in origins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted([*refused, str(read_origin(database))]) == origins


def test_coverage_names_the_series_that_were_taken(database: MySql) -> None:
    scope = Scope.of([("A/USDT", "1m"), ("A/USDT", "1h"), ("B/USDT", "1h"), ("B/USDT", "1m"), ("币/USDT", "1d")])
    draft = Draft("a" * 16, "binance", Market.SPOT, HOUR, scope, complete=True, digest="0" * 64)
    empty = make_bars(["A/USDT"], HOUR).slice(0, 0)
    load_bars(database, empty, draft)
    load_bars(database, empty, replace(draft, batch_key="b" * 16, market=Market.UM))
    later = Window(HOUR.end_ms, HOUR.end_ms + HOUR_MS)
    load_bars(database, empty, replace(draft, batch_key="c" * 16, window=later))
    assert load_coverage(database, "binance", Market.SPOT, HOUR) == [
        Coverage(HOUR, frozenset({"币/USDT"}), frozenset({"1d"})),
        Coverage(HOUR, frozenset({"A/USDT", "B/USDT"}), frozenset({"1m", "1h"})),
    ]
    assert len(load_coverage(database, "binance", Market.SPOT, Window(HOUR.start_ms, later.end_ms))) == 4
    assert load_coverage(database, "okx", Market.SPOT, HOUR) == []


def test_a_scope_is_the_same_however_it_is_told() -> None:
    one = Scope.of([("B", "1h"), ("A", Interval.M1), ("A", "1h")])
    other = Scope.of([("A", "1h"), ("A", "1m"), ("B", "1h"), ("B", "1h")])
    assert one == other
    assert one.key == other.key
    assert one.series == {("A", Interval.M1), ("A", Interval.H1), ("B", Interval.H1)}
    assert Scope.product(["A", "B"], ["1m", "1h"]).groups == (((Interval.M1, Interval.H1), ("A", "B")),)


@dataclass(frozen=True)
class Held:
    symbol: str
    day: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Object:
    uri: str
    series: tuple[Held, ...]
    sha256: str = "1" * 64
    exchange: str = "binance"
    interval: str = "1m"
    period_start: str = "2026-11-19"
    rows: int = 120
    bytes: int = 4096
    content_digest: str = "2" * 64


def test_the_lakes_objects_are_entered_once_and_kept_up_to_date(database: MySql) -> None:
    series = tuple(Held(symbol, "2026-11-19", 60, "a" * 64) for symbol in ("BTC/USDT", "币安人生/USDT"))
    first = Object("file:///lake/ohlcv/币/day.parquet", series)
    other = Object("file:///lake/ohlcv/other.parquet", (), interval="1h")
    assert put_archive_receipts(database, [other, first]) == 2
    assert put_archive_receipts(database, [other, first]) == 0
    newer = replace(first, sha256="3" * 64, rows=121, series=(replace(series[0], rows=61, sha256="b" * 64),))
    assert put_archive_receipts(database, [newer]) == 1
    with database.engine.connect() as connection:
        objects = connection.execute(text("SELECT uri, `rows`, sha256, state FROM archive_receipt ORDER BY uri")).all()
        held = connection.execute(
            text(
                "SELECT s.symbol, s.day, s.`rows`, r.uri FROM archive_series s "
                "JOIN archive_receipt r ON r.id = s.archive_receipt_id ORDER BY s.symbol"
            )
        ).all()
    assert objects == [(other.uri, 120, "1" * 64, "verified"), (first.uri, 121, "3" * 64, "verified")] or objects == [
        (first.uri, 121, "3" * 64, "verified"),
        (other.uri, 120, "1" * 64, "verified"),
    ]
    assert [(row[0], str(row[1]), row[2], row[3]) for row in held] == [
        ("BTC/USDT", "2026-11-19", 61, first.uri),
        ("币安人生/USDT", "2026-11-19", 60, first.uri),
    ]
    assert put_archive_receipts(database, []) == 0


def test_restatements_in_the_lake_are_recorded_once_each(database: MySql) -> None:
    old = make_bars(["BTC/USDT", "币安人生/USDT"], HOUR)
    new = make_bars(["BTC/USDT", "币安人生/USDT"], HOUR, seed=1)
    assert log_lake_restatements(database, old, new, receipt_id=7) == 120
    assert log_lake_restatements(database, old, new) == 0  # killed after this, and done again
    assert log_lake_restatements(database, new, old) == 120  # changed back
    assert log_lake_restatements(database, old, new) == 120  # and forth again: that is another change
    assert count_restatements(database) == {"lake": 360}
    assert log_lake_restatements(database, old.slice(0, 0), new.slice(0, 0)) == 0
    with pytest.raises(ValidationError, match="same keys"):
        log_lake_restatements(database, old, new.slice(1))


def test_the_summary_counts_what_is_there(database: MySql) -> None:
    assert count_series(database) == []
    um = make_bars(["BTC/USDT:USDT", "ETH/USDT:USDT"], DAY, [Interval.M1, Interval.H1])
    behind = um.filter(pa.compute.less(um["ts"], pa.scalar(HOUR.end, um["ts"].type)))
    spot = make_bars(["BTC/USDT"], HOUR)
    eth = pa.compute.equal(behind["symbol"], "ETH/USDT:USDT")
    btc = pa.compute.equal(um["symbol"], "BTC/USDT:USDT")
    bars = pa.concat_tables([um.filter(btc), behind.filter(eth)])
    load_bars(database, bars, draft_for(bars))
    load_bars(database, spot, draft_for(spot, HOUR, key="b" * 16))
    series = count_series(database)
    assert SeriesRows("BTC/USDT:USDT", Interval.M1, 1440, DAY.end_ms - 60_000) in series
    assert count_markets(series) == [
        MarketRows(Market.SPOT, Interval.M1, 60, 1, HOUR.end_ms - 60_000, HOUR.end_ms - 60_000),
        MarketRows(Market.UM, Interval.M1, 1440 + 660, 2, DAY.end_ms - 60_000, HOUR.end_ms - 60_000),
        MarketRows(Market.UM, Interval.H1, 24 + 11, 2, DAY.end_ms - HOUR_MS, HOUR.end_ms - HOUR_MS),
    ]
    assert sum(one.rows for one in count_series(database, HOUR)) == 60 * 3 + 2
    record_quarantine(database, [RefusedRow("binance", "A", "1m", n, "ohlc", str(n)) for n in range(3)], "c" * 16)
    assert count_quarantined(database) == {"ohlc": 3}
    assert count_quarantined(database, since_ms=4_000_000_000_000) == {}


def test_a_change_of_one_value_tells_old_and_new(database: MySql) -> None:
    old = make_bars(["BTC/USDT"], HOUR).slice(0, 1)
    new = with_value(old, 0, "close", Decimal("0.00000001"))
    log_lake_restatements(database, old, new)
    with database.engine.connect() as connection:
        [row] = connection.execute(text("SELECT new_values, store, old_receipt_id, receipt_id FROM restatement")).all()
    assert '"close": "0.00000001"' in row[0]
    assert tuple(row[1:]) == ("lake", None, None)


def test_days_are_counted_for_coverage(database: MySql) -> None:
    two_days = Window(DAY.start_ms, DAY.end_ms + DAY_MS)
    bars = make_bars([BTC.symbol, CHINESE.symbol], two_days, [Interval.M1, Interval.D1])
    bars = bars.filter(pa.compute.invert(pa.compute.equal(bars["ts"], pa.scalar(DAY.start, bars["ts"].type))))
    load_bars(database, bars, draft_for(bars, two_days))
    first, second = DAY.start.date(), DAY.end.date()
    counted = count_days(database, Dataset.OHLCV, "binance", two_days)
    assert counted.schema == pa.schema(
        [("symbol", pa.string()), ("interval", pa.string()), ("day", pa.date32()), ("rows", pa.int64())]
    )
    assert [tuple(row.values()) for row in counted.to_pylist()] == [
        row
        for symbol in (BTC.symbol, CHINESE.symbol)
        for row in ((symbol, "1d", second, 1), (symbol, "1m", first, 1439), (symbol, "1m", second, 1440))
    ]
    some = count_days(database, Dataset.OHLCV, "binance", HOUR, symbols=[CHINESE.symbol], intervals=["1m", "1h"])
    assert [tuple(row.values()) for row in some.to_pylist()] == [(CHINESE.symbol, "1m", first, 60)]
    assert count_days(database, Dataset.OHLCV, "okx", two_days).num_rows == 0
    assert count_days(database, Dataset.OHLCV, "binance", two_days, symbols=[]).num_rows == 0
    metrics = make_rows(Dataset.METRICS, [BTC.symbol], two_days)
    load_rows(database, SHAPES[Dataset.METRICS], metrics, draft_of(metrics, Dataset.METRICS, key="c" * 16))
    rows = count_days(database, Dataset.METRICS, "binance", two_days, symbols=[BTC.symbol])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [(BTC.symbol, "", day, 288) for day in (first, second)]
    assert count_days(database, Dataset.FUNDING, "binance", two_days).num_rows == 0


def test_open_times_of_a_series_come_in_order(database: MySql) -> None:
    bars = make_bars([BTC.symbol, SPOT.symbol], DAY, [Interval.M1, Interval.H4])
    bars = bars.filter(pa.compute.equal(bars["symbol"], BTC.symbol))
    load_bars(database, bars, draft_for(bars))
    opens = read_opens(database, "binance", BTC.symbol, Interval.M1, HOUR)
    assert (opens.dtype, opens.tolist()) == (np.int64, list(range(HOUR.start_ms, HOUR.end_ms, 60_000)))
    assert read_opens(database, "binance", BTC.symbol, "4h", DAY).tolist() == list(Interval.H4.opens(DAY))
    within = Window(HOUR.start_ms + 1, HOUR.start_ms + 60_001)
    assert read_opens(database, "binance", BTC.symbol, "1m", within).tolist() == [HOUR.start_ms + 60_000]
    assert read_opens(database, "binance", SPOT.symbol, "1m", DAY).tolist() == []
