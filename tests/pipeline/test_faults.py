"""What the exchange does wrong, and how each ends: the named series fails or waits, the others are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gapless.domain.window import HOUR_MS, Window, parse_time
from gapless.errors import OriginMismatch
from gapless.pipeline.plan import plan_window
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import NOON, Installation, MakeInstallation

BTC, ETH, COIN = "BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT"
KLINES = "*/klines"


@pytest.mark.parametrize(
    "action",
    [
        {"status": 500},
        {"status": 503},
        {"status": 408},
        {"html": True},
        {"half_json": True},
        {"reset": True},
        {"reset": {"after": 0.5}},
        {"error": -1001},
        {"error": {"code": -1008, "status": 503}},
    ],
    ids=str,
)
def test_what_passes_is_waited_out(installation: Installation, action: dict[str, Any]) -> None:
    installation.exchange.faults({"match": {"path": KLINES, "interval": "1m", "times": 2}, "action": action})
    report = installation.etl(symbols=f"{BTC},{ETH}")
    assert report.errors == ()
    assert report.rows_loaded == 2 * 78


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ({"status": 500}, "500"),
        ({"html": True}, "HTML"),
        ({"half_json": True}, "JSON"),
        ({"reset": True}, "connection"),
    ],
    ids=str,
)
def test_what_does_not_pass_fails_its_series_alone_and_names_symbol_and_window(
    installation: Installation, action: dict[str, Any], word: str
) -> None:
    installation.exchange.faults({"match": {"path": KLINES, "symbol": "ETHUSDT", "interval": "1m"}, "action": action})
    report = installation.etl(symbols=f"{BTC},{ETH}")
    (failure,) = report.errors
    assert (failure.symbol, failure.interval, failure.window) == (ETH, "1m", str(NOON))
    assert "ETHUSDT 1m 2026-11-15T11:00:00Z..2026-11-15T12:00:00Z" in failure.message
    assert word.lower() in failure.message.lower()
    assert report.rows_loaded == 2 * 78 - 60
    covered = installation.rows("SELECT intervals, symbols FROM load_scope")
    assert (ETH, "1m") not in {
        (symbol, interval) for each, names in covered for symbol in json.loads(names) for interval in json.loads(each)
    }
    # The exchange has recovered: the same command brings the rest, and only that.
    installation.exchange.faults()
    again = installation.etl(symbols=f"{BTC},{ETH}")
    assert (again.errors, again.rows_loaded) == ((), 60)
    assert len(installation.lake_bars()) == 2 * 78


def test_an_unknown_and_a_delisted_symbol_are_listed_and_the_others_are_done(installation: Installation) -> None:
    status, told, _ = installation.command(
        "etl", "ohlcv", "--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00", "--intervals", "1h",
        "--symbols", "BTC/USDT,NOSUCH/USDT,WAVES/USDT",
    )  # fmt: skip
    assert status == 1
    assert told["rows_loaded"] == 1
    assert {(e["symbol"], e["interval"], e["kind"]) for e in told["errors"]} == {
        ("NOSUCH/USDT", "1h", "bad_symbol"),
        ("WAVES/USDT", "1h", "bad_symbol"),
    }
    assert all("-1121" in error["message"] and "2026-11-15T11:00" in error["message"] for error in told["errors"])


def test_an_unknown_raw_symbol_is_a_failure_too(installation: Installation) -> None:
    status, told, _ = installation.command(
        "etl", "ohlcv", "--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00", "--intervals", "1h",
        "--market", "um", "--symbols", "BTCUSDT,NOSUCHUSDT",
    )  # fmt: skip
    assert (status, told["rows_loaded"]) == (1, 1)
    assert [(e["symbol"], e["kind"]) for e in told["errors"]] == [("NOSUCHUSDT", "bad_symbol")]


def test_429_is_waited_out_within_the_bound(installation: Installation) -> None:
    rule = {"match": {"path": KLINES, "times": 1}, "action": {"status": {"code": 429, "retry_after": 1}}}
    installation.exchange.faults(rule)
    assert installation.etl().errors == ()
    assert installation.exchange.stats()["um"]["weight_total"] < 40


def test_a_ban_stops_everything_and_says_until_when(installation: Installation) -> None:
    rule = {
        "match": {"path": KLINES, "symbol": "ETHUSDT", "times": 1},
        "action": {"status": {"code": 418, "ban_s": 600}},
    }
    installation.exchange.faults(rule)
    installation.max_wait_s = 1.0
    report = installation.etl(symbols=f"{ETH},{BTC}")
    assert {error.kind for error in report.errors} == {"banned"}
    assert all("2026-11-15T12:4" in error.message for error in report.errors)
    assert installation.exchange.stats()["um"]["refused_418"] <= 8  # those under way when the ban came, none after
    before = installation.exchange.stats()["um"]["refused_418"]
    assert {error.kind for error in report.errors} == {"banned"}
    status, told, said = installation.command(
        "etl", "ohlcv", "--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00", "--symbols", BTC, "--max-wait", "1s"
    )
    assert (status, told["errors"][0]["kind"]) == (1, "banned"), said
    assert installation.exchange.stats()["um"]["refused_418"] == before
    assert installation.bars() == []


def test_the_open_bar_is_never_stored_and_an_unfinished_window_says_so(installation: Installation) -> None:
    window = Window.of("2026-11-15T12:00", "2026-11-15T13:00")  # it is 12:30:30 there
    report = installation.etl(window)
    assert (report.complete, report.errors) == (False, ())
    newest = installation.rows("SELECT `interval`, MAX(ts) FROM ohlcv GROUP BY `interval`")
    assert {interval: f"{ts:%H:%M}" for interval, ts in newest} == {"1m": "12:29", "5m": "12:25", "15m": "12:15"}
    installation.exchange.advance(1800)
    again = installation.etl(window)
    assert (again.complete, again.rows_loaded) == (True, 77 - 30 - 6 - 2)
    assert installation.mysql_bars() == installation.lake_bars()


def test_a_window_that_ends_now_is_waited_for_until_it_has_settled(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> None:
    running = start_exchange("--generate", "7", "--start", "2026-11-15T11:59:58")
    installation = make_installation(running)
    report = installation.etl(intervals="1m")
    assert (report.complete, report.rows_loaded) == (True, 60)
    assert running.now_ms() >= NOON.end_ms + 15_000


def test_a_restated_bar_replaces_the_old_one_and_both_are_kept(installation: Installation) -> None:
    installation.etl(symbols=f"{BTC},{COIN}")
    at = "2026-11-15T11:25"
    installation.exchange.restate("um", "币安人生USDT", "1m", at, trades=4711)
    report = installation.etl(symbols=f"{BTC},{COIN}")
    assert (report.rows_loaded, report.restated) == (1, 1)
    (row,) = installation.rows("SELECT symbol, `interval`, ts, store, old_values, new_values FROM restatement")
    assert row[:2] == (COIN, "1m")
    old, new = json.loads(row[4]), json.loads(row[5])
    assert {name for name in old if old[name] != new[name]} == {"trades"}
    assert new["trades"] in (4711, "4711")
    assert installation.mysql_bars() == installation.lake_bars()


def test_bad_rows_are_quarantined_counted_and_kept_once(installation: Installation) -> None:
    installation.exchange.faults(
        {
            "match": {"path": KLINES, "symbol": "币安人生USDT", "interval": "1m"},
            "action": {"alter": [
                {"row": 3, "field": "close", "value": "1.123456789"},
                {"row": 5, "field": "high", "value": "0.00000001"},
                {"row": 7, "append": "surprise"},
            ]},
        }
    )  # fmt: skip
    first, second = (installation.etl(symbols=f"{COIN},{BTC}") for _ in range(2))
    assert first.rows_quarantined == second.rows_quarantined == 3
    assert first.rows_loaded == 2 * 78 - 3
    reasons = installation.rows("SELECT symbol, reason, payload FROM quarantine ORDER BY ts")
    assert [(symbol, reason) for symbol, reason, _ in reasons] == [(COIN, r) for r in ("precision", "ohlc", "columns")]
    assert json.loads(reasons[0][2])[4] == "1.123456789"
    assert len(installation.lake_bars()) == 2 * 78 - 3


def test_data_of_another_origin_is_refused(
    installation: Installation, make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> None:
    installation.etl()
    before = (installation.bars(), installation.lake_files())
    other = start_exchange("--generate", "8", "--speed", "0", "--start", "2026-11-15T12:30:30")
    installation.settings = installation.settings.model_copy(
        update={"binance_spot_rest_url": other.spot_rest, "binance_um_rest_url": other.um_rest}
    )
    with installation.open() as rt, pytest.raises(OriginMismatch, match="replica:7"):
        plan_window(rt, NOON, market=None, symbols=[BTC], intervals=None)
    # A fresh database does not make a lake of another origin acceptable.
    fresh = make_installation(other, name="two", lake_uri=installation.settings.lake_uri)
    with fresh.open() as rt, pytest.raises(OriginMismatch, match="replica:7"):
        plan_window(rt, NOON, market=None, symbols=[BTC], intervals=None)
    assert before == (installation.bars(), installation.lake_files())
    assert fresh.bars() == []


def test_a_dropped_month_comes_back_hour_by_hour_and_the_lake_keeps_every_other_bar(installation: Installation) -> None:
    installation.etl(Window(NOON.start_ms - 5 * HOUR_MS, NOON.end_ms), symbols=f"{BTC},{ETH}")
    before = installation.lake_bars()
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv DROP PARTITION p202611")
    report = installation.etl(symbols=BTC)
    assert report.rows_loaded == 78
    assert installation.lake_bars() == before
    assert len(installation.bars()) == 78
    assert installation.rows("SELECT COUNT(*) FROM ohlcv PARTITION (p202611)") == [(78,)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--symbols", "BTCUSDT"], "--market"),
        (["--symbols", "BTC/USDT", "--market", "um"], "spot symbol"),
        (["--intervals", "2m"], "2m"),
        (["--symbols", " , "], "empty"),
        (["--end", "2026-11-15T10:00"], "empty window"),
        (["--start", "yesterday"], "ISO 8601"),
        (["--max-wait", "soon"], "90s"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line_and_status_2(installation: Installation, arguments: list[str], says: str) -> None:
    window = ["--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00"]
    status, told, said = installation.command("etl", "ohlcv", *window, *arguments)
    assert (status, told) == (2, None)
    assert says in said
    assert "Traceback" not in said


def test_a_past_year_is_loaded_into_partitions_made_for_it(installation: Installation) -> None:
    start = parse_time("2019-03-01T00:00")
    report = installation.etl(Window(start, start + HOUR_MS), symbols="BTC/USDT", intervals="1m")
    assert report.rows_loaded == 60
    assert installation.rows("SELECT COUNT(*) FROM ohlcv PARTITION (p_before)") == [(0,)]
