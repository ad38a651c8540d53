"""`gapless audit`: stored bars of both stores, drawn at random, against the exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval, parse_intervals
from gapless.domain.window import Window
from gapless.errors import ConfigError, NotFound
from gapless.pipeline.audit import AuditReport, AuditRequest, run_audit
from gapless.pipeline.audit.draw import draw_bars
from gapless.pipeline.audit.tickets import Tickets
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stored import stored_months
from gapless.storage.mysql.checks import read_checks
from gapless.storage.mysql.days import EVER
from tests.bars import bars
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC, ETH, SPOT = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT"
BORDER = ("2026-08-30", "2026-09-03")
"""Two days in the lake, two in MySQL."""
BARS = 4 * (96 + 6)


@pytest.fixture
def filled(installation: Installation) -> Installation:
    """Four days across the border between the stores, spot and USD-M."""
    installation.backfill(*BORDER, symbols=f"{BTC},{SPOT}", intervals="15m,4h")
    return installation


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        refresh_instruments(opened)
        yield opened


def audit(installation: Installation, sample: int = 60, seed: int = 7, **options: Any) -> AuditReport:
    intervals = parse_intervals(options.pop("intervals", None))
    with installation.open() as rt:
        return run_audit(rt, AuditRequest(sample=sample, seed=seed, intervals=intervals, **options))


def drawn(rt: Runtime, count: int, seed: int, window: Window = EVER) -> list[tuple[str, str, int]]:
    table = draw_bars(rt, Tickets(stored_months(rt, Dataset.OHLCV, window), window), count, seed)
    keys = (table["symbol"].to_pylist(), table["interval"].to_pylist(), table["ts"].cast("int64").to_pylist())
    return list(zip(*keys, strict=True))


def test_stored_bars_that_the_exchange_has_match_in_either_store(filled: Installation, replica: ReplicaHandle) -> None:
    status, report, err = filled.command("audit", "--sample", "100", "--seed", "11")
    assert status == 0, err
    assert [report[name] for name in ("sampled", "matching", "mismatching", "failed", "seed")] == [100, 100, 0, 0, 11]
    assert (report["mismatches"], report["errors"], report["note"]) == ([], [], "")
    assert 0 < report["requests"] < 100, "neighbours share a request"
    assert report["weight_used"] > 0
    assert "seed 11" in err


def test_a_seed_is_chosen_and_told_and_draws_the_same_again(filled: Installation) -> None:
    _, first, _ = filled.command("audit", "--sample", "5")
    with filled.open() as rt:
        assert drawn(rt, 5, first["seed"]) == drawn(rt, 5, first["seed"]) != drawn(rt, 5, first["seed"] + 1)


def test_more_than_is_stored_samples_all_and_says_so(filled: Installation) -> None:
    report = audit(filled, sample=5000, symbols=(BTC,))
    assert (report.sampled, report.matching, report.wanted) == (BARS, BARS, 5000)
    assert report.note == f"5,000 bars were asked for and {BARS} are stored: all of them were sampled"
    assert report.clean


def test_nothing_stored_is_no_clean_audit(filled: Installation) -> None:
    with pytest.raises(NotFound, match="no bar is stored"):
        audit(filled, start_ms=0, end_ms=86_400_000)
    status, told, _ = filled.command("audit", "--sample", "5", "--intervals", "1d")
    assert (status, told["errors"][0]["kind"]) == (1, "not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("open = open + 0.00000001", "open"),
        ("high = high + 1", "high"),
        ("low = low - 0.1", "low"),
        ("close = close + 0.00000001", "close"),
        ("volume = volume + 0.00000001", "volume"),
        ("quote_volume = 0", "quote_volume"),
        ("trades = trades + 1", "trades"),
        ("taker_buy_volume = taker_buy_volume + 1", "taker_buy_volume"),
        ("taker_buy_quote_volume = taker_buy_quote_volume + 1", "taker_buy_quote_volume"),
        ("ts = ts + INTERVAL 90 SECOND", "open_time"),
    ],
)
def test_one_altered_field_in_mysql_is_found_with_its_source_and_receipt(
    filled: Installation, change: str, field: str
) -> None:
    where = f"symbol = '{BTC}' AND `interval` = '4h' AND ts = '2026-09-02 08:00:00'"
    ((receipt,),) = filled.rows(f"SELECT receipt_id FROM ohlcv WHERE {where}")
    with filled.db.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE ohlcv SET {change} WHERE {where}")
    report = audit(filled, sample=5000, symbols=(BTC,), intervals="4h")
    (found,) = report.mismatches
    assert (report.matching, report.mismatching, report.failed) == (23, 1, 0)
    assert (found.fields, found.store, found.source, found.receipt_id) == ((field,), "mysql", "rest", receipt)
    assert found.stored[field] != (found.exchange or {}).get(field)


@pytest.mark.parametrize("change", [f"symbol = '{ETH}'", "`interval` = '1h'"])
def test_a_bar_that_was_moved_to_another_series_is_found(filled: Installation, change: str) -> None:
    with filled.db.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE ohlcv SET {change} WHERE symbol = '{BTC}' AND `interval` = '4h' AND ts = '2026-09-02 08:00:00'"
        )
    report = audit(filled, sample=5000)
    assert (report.sampled, report.mismatching, report.failed) == (2 * BARS, 1, 0)


def test_a_restated_bar_in_the_lake_is_found_there(filled: Installation, replica: ReplicaHandle) -> None:
    replica.restate("um", "BTCUSDT", "15m", "2026-08-30T00:00", trades=5)
    report = audit(filled, sample=5000, symbols=(BTC,))
    (found,) = report.mismatches
    assert (found.store, found.receipt_id, found.fields, found.ts) == (
        "lake",
        None,
        ("trades",),
        "2026-08-30T00:00:00Z",
    )
    assert found.exchange == {"trades": "5"}


def test_a_bar_that_the_exchange_lost_is_a_mismatch(filled: Installation, replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "4h", "nth": 1}, "action": {"drop_rows": [2]}})
    report = audit(filled, sample=5000, symbols=(BTC,), intervals="4h")
    (found,) = report.mismatches
    assert (found.exchange, found.reason, found.ts) == (None, "the exchange has no such bar", "2026-08-30T08:00:00Z")


def test_a_symbol_that_the_exchange_forgot_is_an_error_and_no_mismatch(
    filled: Installation, replica: ReplicaHandle
) -> None:
    with filled.db.engine.begin() as connection:
        for table in ("instrument", "instrument_life"):
            connection.exec_driver_sql(f"UPDATE {table} SET raw_symbol = 'GONEUSDT' WHERE symbol = '{BTC}'")
    status, report, _ = filled.command("audit", "--sample", "5000", "--intervals", "4h")
    assert (status, report["failed"], report["mismatching"], report["matching"]) == (1, 24, 0, 24)
    assert [(error["symbol"], error["kind"]) for error in report["errors"]] == [(BTC, "bad_symbol")]


def test_an_instrument_on_no_record_is_an_error(filled: Installation, rt: Runtime) -> None:
    into_mysql(rt, bars("WHO/USDT:USDT", "4h", "2026-09-01", 3))
    report = audit(filled, sample=5000, intervals="4h")
    assert (report.failed, report.matching) == (3, 48)
    assert [(error.symbol, error.kind) for error in report.errors] == [("WHO/USDT:USDT", "bad_symbol")]


def test_one_series_without_an_answer_does_not_hold_up_the_others(filled: Installation, replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "15m"}, "action": {"status": 400}})
    report = audit(filled, sample=5000, symbols=(BTC,))
    assert (report.failed, report.matching, report.mismatching) == (4 * 96, 24, 0)
    assert [(error.interval, error.kind) for error in report.errors] == [("15m", "exchange")]


def test_an_exchange_out_of_reach_is_errors_and_ends(filled: Installation, replica: ReplicaHandle) -> None:
    replica.stop()
    report = audit(filled, sample=40)
    assert (report.failed, report.mismatching, report.matching) == (40, 0, 0)
    assert {error.kind for error in report.errors} == {"unreachable"}


def test_the_sample_is_uniform_over_both_stores_and_a_shared_bar_counts_once(rt: Runtime) -> None:
    series = bars(BTC, "4h", "2026-10-26", 60)
    into_lake(rt, series.slice(0, 40))
    into_mysql(rt, series.slice(20))  # twenty of them in both
    into_lake(rt, bars(ETH, "1d", "2026-10-01", 20))
    into_mysql(rt, bars(ETH, "1h", "2026-11-01T05:00", 20))  # a day that is not whole
    seen: Counter[tuple[str, str, int]] = Counter()
    rounds, each = 150, 20
    months = stored_months(rt, Dataset.OHLCV)
    for seed in range(rounds):
        table = draw_bars(rt, Tickets(months, EVER), each, seed)
        keys = (table["symbol"].to_pylist(), table["interval"].to_pylist(), table["ts"].cast("int64").to_pylist())
        bar_keys = list(zip(*keys, strict=True))
        assert len(set(bar_keys)) == each
        seen.update(bar_keys)
    assert len(seen) == 100
    expected = rounds * each / 100
    # Drawn without replacement: the counts vary by (1 - 20/100) less than the chi-square of 99 degrees of freedom.
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values()) / (1 - each / 100)
    assert 60 < chi_square < 150, "0.1 % of fair draws go beyond 148"


def test_the_same_content_draws_the_same_bars_wherever_it_lies(make_installation: Any, replica: ReplicaHandle) -> None:
    series = bars(BTC, "15m", "2026-10-30", 300)
    here, there = make_installation(replica, name="here"), make_installation(replica, name="there")
    with here.open() as one, there.open() as other:
        into_mysql(one, series)
        into_lake(other, series.slice(0, 200))
        into_mysql(other, series.slice(120))
        assert drawn(one, 50, 3) == drawn(other, 50, 3)


def test_a_window_a_market_and_intervals_bound_the_sample(filled: Installation, rt: Runtime) -> None:
    window = Window.of("2026-08-31T11:10", "2026-09-01T02:00")
    found = drawn(rt, 10_000, 1, window)
    assert sorted(found) == sorted(
        (symbol, str(interval), at)
        for symbol in (BTC, SPOT)
        for interval in (Interval.M15, Interval.H4)
        for at in interval.opens(window)
    )
    report = audit(filled, sample=10_000, market=Market.SPOT, intervals="4h", start_ms=window.start_ms)
    assert (report.sampled, report.matching) == (15, 15)
    assert {error.symbol for error in audit(filled, symbols=(BTC, "NOPE/USDT:USDT")).errors} == {"NOPE/USDT:USDT"}
    with pytest.raises(ConfigError, match="BTCUSDT is a raw symbol"):
        audit(filled, symbols=("BTCUSDT",))


def test_the_lake_is_not_believed_to_hold_what_its_books_say(filled: Installation, rt: Runtime) -> None:
    day = Window.of("2026-08-30", "2026-08-31")
    rt.lake.remove(rt.lake.read(day, symbols=[BTC], intervals=[Interval.H4], exchange="binance"))
    report = audit(filled, sample=5000, symbols=(BTC,), intervals="4h")
    assert (report.sampled, report.matching) == (18, 18), "six that the books still name are not there"


def test_what_was_found_stands_in_the_books(filled: Installation, replica: ReplicaHandle) -> None:
    audit(filled, sample=10)
    replica.restate("um", "BTCUSDT", "15m", "2026-08-30T00:00", trades=5)
    audit(filled, sample=5000)
    clean, dirty = read_checks(filled.db, kinds=["audit"])
    assert [run.state for run in (clean, dirty)] == ["clean", "dirty"]
    assert (dirty.result["mismatching"], dirty.result["mismatches"][0]["fields"]) == (1, ["trades"])
    assert dirty.window == Window.of(*BORDER)
    assert clean.result["seed"] == 7


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_on_either_server(make_installation: Any, replica: ReplicaHandle, kind: str) -> None:
    installation = make_installation(replica, kind=kind)
    installation.backfill(*BORDER, intervals="4h")
    assert audit(installation, sample=20).clean


@pytest.mark.parametrize("arguments", [["--sample", "0"], ["--sample", "-3"], ["--sample", "10", "--seed", "x"], []])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from gapless.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["audit", *arguments])
    assert stop.value.code == 2
    assert "usage: gapless audit" in capsys.readouterr().err
