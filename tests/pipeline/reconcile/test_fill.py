"""`gapless gaps --fill`: what is found is put right in every store, and the books say so."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval, parse_intervals
from gapless.domain.window import Window, parse_time
from gapless.errors import NotYet
from gapless.pipeline.reconcile.plan import cut_diff, plan_diff
from gapless.pipeline.reconcile.request import DiffRequest, GapReport
from gapless.pipeline.reconcile.run import retry_gaps, run_diff, settle
from gapless.pipeline.watchlist import read_watchlist
from gapless.storage.mysql import Gap, record_gaps
from gapless.storage.mysql.rewriting import Rewritten, begin_rewriting, unfinished_objects
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

BTC = "BTC/USDT:USDT"
BORDER = ("2026-08-30", "2026-09-03")
"""Two days in the lake, two in MySQL."""


def diff(installation: Installation, start: str, end: str, *, fill: bool = False, **options: Any) -> GapReport:
    asked = {"symbols": (BTC,), "intervals": parse_intervals(options.pop("intervals", "15m,4h"))}
    names = ("dataset", "market", "symbols", "open_gaps")
    asked |= {name: options.pop(name) for name in names if name in options}
    request = DiffRequest(start_ms=parse_time(start), end_ms=parse_time(end), **asked)
    with installation.open() as rt:
        return run_diff(rt, request, fill=fill, sleep=lambda s: installation.said.append(f"slept {s}"), **options)


def left(report: GapReport) -> tuple[int, int, int, int]:
    return report.missing, report.different, report.extra, report.failed


def test_what_is_missing_or_different_is_put_right_in_both_stores(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill(*BORDER, intervals="15m,4h")
    bars, lake = installation.mysql_bars(), installation.lake_bars()
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-09-01 05:00:00' AND '2026-09-01 08:30:00'")
        connection.exec_driver_sql("UPDATE ohlcv SET trades = trades + 1 WHERE `interval` = '4h' AND ts = '2026-09-02'")
    with installation.open() as rt:
        day = Window.of("2026-08-31T10:00", "2026-08-31T10:30")
        rt.lake.remove(rt.lake.read(day, symbols=[BTC], intervals=[Interval.M15], exchange="binance"))
    found = diff(installation, *BORDER)
    assert left(found) == (16 + 2, 1, 0, 0)
    report = diff(installation, *BORDER, fill=True)
    assert (report.filled, report.restated, left(report), report.clean) == (18, 1, (0, 0, 0, 0), True)
    assert [row[:-1] for row in installation.mysql_bars()] == [row[:-1] for row in bars]
    assert [row[:-1] for row in installation.lake_bars()] == [row[:-1] for row in lake]
    assert installation.rows("SELECT store, applied, COUNT(*) FROM restatement GROUP BY 1, 2") == [("mysql", 1, 1)]
    assert installation.rows("SELECT state, SUM(bars) FROM data_gap_log GROUP BY 1") == [("filled", 18)]
    again = diff(installation, *BORDER, fill=True)
    assert (again.clean, again.filled, again.restated) == (True, 0, 0)


def test_what_the_lake_alone_holds_of_a_hot_month_is_given_to_mysql_too(
    installation: Installation, replica: ReplicaHandle
) -> None:
    """Nothing is missing, because the stores are one; but whoever reads the table must find it there."""
    installation.etl(Window.of("2026-11-15T10:00", "2026-11-15T12:00"), intervals="5m,1h")
    bars = installation.mysql_bars()
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE `interval` = '5m' AND ts < '2026-11-15 10:20:00'")
    window = ("2026-11-15T10:00", "2026-11-15T11:00")
    found = diff(installation, *window, intervals="5m")
    assert (found.clean, found.missing, found.copied) == (True, 0, 0)
    repaired = diff(installation, *window, intervals="5m", fill=True)
    assert (repaired.clean, repaired.filled, repaired.copied) == (True, 0, 4)
    assert [row[:-1] for row in installation.mysql_bars()] == [row[:-1] for row in bars]
    assert diff(installation, *window, intervals="5m", fill=True).copied == 0


def test_a_hot_month_that_was_put_into_the_lake_stays_there(installation: Installation, replica: ReplicaHandle) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="15m", into="lake")
    assert diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True).copied == 0
    assert installation.mysql_bars() == []


def test_a_backfill_after_a_repair_counts_the_month_anew(installation: Installation, replica: ReplicaHandle) -> None:
    installation.backfill(*BORDER, intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-09-01 05:00:00' AND '2026-09-01 08:30:00'")
    assert installation.rows("SELECT state, SUM(present) FROM series_month GROUP BY 1") == [("whole", 4 * 96)]
    assert diff(installation, *BORDER, fill=True, intervals="15m").filled == 15
    assert installation.rows("SELECT store, state FROM series_month ORDER BY 1") == [
        ("lake", "whole"),
        ("mysql", "partial"),
    ]
    report = installation.backfill(*BORDER, intervals="15m")
    assert (report.bars_present, report.rows_loaded, report.gap_bars) == (4 * 96, 0, 0)
    assert installation.rows("SELECT DISTINCT state FROM series_month") == [("whole",)]


def test_holes_are_counted_once_however_often_they_are_found(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill(*BORDER, intervals="15m,4h")
    installation.rows("SELECT 1")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE `interval` = '15m' AND ts < '2026-09-01 01:00:00'")
    assert diff(installation, *BORDER).noticed == {"15m": 4}
    assert diff(installation, *BORDER).noticed == {}
    assert diff(installation, *BORDER, fill=True).filled == 4
    assert installation.rows("SELECT labels, total FROM counter WHERE name = 'missing_bars' ORDER BY 1") == [
        ('{"interval":"15m"}', 4),
        ('{"interval":"4h"}', 0),
    ]


def test_rows_that_the_exchange_never_had_go_to_quarantine_with_all_they_held(
    installation: Installation, replica: ReplicaHandle
) -> None:
    halt = replica.halts("spot", "2026-04-01", "2026-08-01")[0]
    day = halt["start"][:10]
    end = Window(parse_time(day), parse_time(day) + 86_400_000).end.isoformat()
    installation.backfill(day, end, symbols="BTC/USDT", intervals="1m", into="mysql")
    at = halt["start"][:19].replace("T", " ")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO ohlcv SELECT symbol, `interval`, %s, exchange, open, high, low, close, volume, quote_volume,"
            " trades, taker_buy_volume, taker_buy_quote_volume, source, receipt_id FROM ohlcv ORDER BY ts LIMIT 1",
            (at,),
        )
    options: dict[str, Any] = {"symbols": ("BTC/USDT",), "intervals": "1m"}
    found = diff(installation, day, end, **options)
    assert (left(found), found.unfillable) == ((0, 0, 1, 0), length(halt) - 1)
    report = diff(installation, day, end, fill=True, **options)
    assert (report.quarantined, report.clean, report.unfillable) == (1, True, length(halt))
    [(reason, ts, payload)] = installation.rows("SELECT reason, ts, payload FROM quarantine")
    assert (reason, f"{ts:%Y-%m-%d %H:%M:%S}") == ("extra", at)
    assert '"taker_buy_quote_volume": "' in payload
    again = diff(installation, day, end, **options)
    assert (again.clean, again.unfillable) == (True, length(halt))


@pytest.mark.parametrize(("rows", "moved"), [(20, 20), (21, 0)])
def test_without_the_archive_a_few_rows_are_moved_on_rests_word_and_many_are_not(
    make_installation: MakeInstallation, replica: ReplicaHandle, rows: int, moved: int
) -> None:
    """An archive that is away is waited for once, for seconds, however many series would like to hear it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = f"http://127.0.0.1:{closed.getsockname()[1]}/vision"
    installation = make_installation(replica, binance_vision_url=away)
    halts = [one for one in replica.halts("spot", "2026-04-01", "2026-08-01") if length(one) >= rows]
    day = parse_time(halts[0]["start"][:10])
    bounds = (halts[0]["start"][:10], Window(day, day + 86_400_000).end.isoformat())
    series = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    installation.backfill(*bounds, symbols=",".join(series), intervals="1m", into="mysql", source="rest")
    with installation.db.engine.begin() as connection:
        for place in range(rows):
            connection.exec_driver_sql(
                "INSERT INTO ohlcv SELECT symbol, `interval`, %s + INTERVAL %s MINUTE, exchange, open, high, low,"
                " close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume, source, receipt_id"
                " FROM ohlcv WHERE ts = %s",
                (halts[0]["start"][:19].replace("T", " "), place, bounds[0]),
            )
    before = time.monotonic()
    report = diff(installation, *bounds, fill=True, symbols=series, intervals="1m")
    assert (report.quarantined, report.extra) == (3 * moved, 3 * (rows - moved))
    assert report.clean == (moved > 0)
    assert time.monotonic() - before < 60
    assert len([line for line in installation.said if "was not asked" in line]) <= 3


def length(halt: dict[str, str]) -> int:
    return (parse_time(halt["end"]) - parse_time(halt["start"])) // 60_000


def test_a_stored_row_that_the_archive_has_is_not_extra(installation: Installation, replica: ReplicaHandle) -> None:
    """REST loses bars that the archive still has; what the exchange published is not taken away."""
    installation.backfill("2026-10-01", "2026-10-03", intervals="15m", source="vision")
    nothing = {"drop_rows": list(range(200))}
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "15m"}, "action": nothing})
    for fill in (False, True):
        found = diff(installation, "2026-10-01", "2026-10-03", intervals="15m", fill=fill)
        assert (found.checked, found.extra, found.unfillable, found.quarantined, found.clean) == (192, 0, 0, 0, True)
    assert len(installation.mysql_bars()) == 192


def test_what_rest_denies_is_taken_from_the_archive_once_it_has_the_day(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-11-10", "2026-11-12", intervals="15m", source="rest")
    bars = installation.mysql_bars()
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-11-10 10:00:00' AND '2026-11-10 11:00:00'")
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "15m"}, "action": {"drop_rows": list(range(500))}})
    denied = diff(installation, "2026-11-10", "2026-11-11", intervals="15m")
    assert (denied.unfillable, denied.missing) == (5, 0)
    healed = diff(installation, "2026-11-11", "2026-11-12", intervals="15m", fill=True, open_gaps=True)
    assert healed.filled == 5
    assert [row[:-1] for row in installation.mysql_bars()] == [row[:-1] for row in bars]
    assert installation.rows("SELECT state, SUM(bars) FROM data_gap_log GROUP BY 1") == [("filled", 5)]
    replica.reset_stats()
    assert diff(installation, "2026-11-11", "2026-11-12", intervals="15m", fill=True, open_gaps=True).filled == 0


def test_a_settlement_that_rest_denies_is_taken_from_the_months_file(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.set_clock("2026-11-03T12:00:00")
    window = ("2026-10-25", "2026-10-29")
    installation.backfill(*window, dataset=Dataset.FUNDING, source="rest")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM funding_rate WHERE ts = '2026-10-27 08:00:00'")
    gap = Window.of("2026-10-27T00:30", "2026-10-27T16:00")
    denied = Gap("binance", BTC, "funding_rate", "", gap, 1, "unfillable", "the exchange has none")
    record_gaps(installation.db, [denied], within={}, dataset="funding_rate")
    healed = diff(installation, "2026-11-01", "2026-11-02", fill=True, open_gaps=True, dataset=Dataset.FUNDING)
    assert healed.filled >= 1
    assert installation.rows("SELECT source FROM funding_rate WHERE ts = '2026-10-27 08:00:00'") == [(2,)]
    assert installation.rows("SELECT DISTINCT state FROM data_gap_log WHERE gap_start < '2026-10-28'") == [("filled",)]


def test_a_bar_that_breaks_a_rule_is_tried_three_times_and_then_failed(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts = '2026-11-10 10:00:00'")
    replica.restate("um", "BTCUSDT", "15m", "2026-11-10T10:00", high="0.00000001")
    report = diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True, rounds=3, waits_s=(1, 2))
    assert (left(report), report.unfillable) == ((1, 0, 0, 0), 0)
    assert [line for line in installation.said if line.startswith("slept")] == ["slept 1", "slept 2"]
    assert [(gap.state, gap.bars) for gap in report.gaps] == [("failed", 1)]
    assert installation.rows("SELECT state, attempts FROM data_gap_log") == [("failed", 3)]
    assert installation.rows("SELECT reason FROM quarantine") == [("ohlc",)]
    high = replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval="15m", limit=1)[0][2]
    replica.restate("um", "BTCUSDT", "15m", "2026-11-10T10:00", high="999999")
    assert high
    healed = diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True)
    assert (healed.filled, healed.clean) == (1, True)
    assert installation.rows("SELECT state, attempts FROM data_gap_log") == [("filled", 3)]


def test_later_attempts_are_made_when_they_are_due_and_not_before(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts = '2026-11-10 10:00:00'")
    replica.restate("um", "BTCUSDT", "15m", "2026-11-10T10:00", high="0.00000001")
    first = diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True, waits_s=(3600, 7200))
    assert (first.missing, installation.rows("SELECT state, attempts FROM data_gap_log")) == (1, [("refilling", 1)])
    request = DiffRequest(
        symbols=(BTC,), intervals=(Interval.M15,), start_ms=parse_time("2026-11-10"), end_ms=parse_time("2026-11-11")
    )
    with installation.open() as rt:
        with pytest.raises(NotYet) as waiting:
            retry_gaps(rt, request, waits_s=(3600, 7200))
        assert 3500 < waiting.value.retry_after_s <= 3600
        assert installation.rows("SELECT attempts FROM data_gap_log") == [(1,)]
        later = parse_time("2100-01-01")
        with pytest.raises(NotYet):
            retry_gaps(rt, request, waits_s=(3600, 7200), now_ms=later)
        last = retry_gaps(rt, request, waits_s=(3600, 7200), now_ms=later)
        assert (last.missing, [gap.state for gap in last.gaps]) == (1, ["failed"])
        assert retry_gaps(rt, request, now_ms=later).missing == 1  # attempts are spent: nobody asks any more
    assert installation.rows("SELECT state, attempts FROM data_gap_log") == [("failed", 3)]
    total = settle(first, last)
    assert (total.missing, total.filled, total.clean) == (1, 0, False)


def test_a_gap_of_another_day_is_looked_at_again_until_it_is_closed(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-11-08", "2026-11-11", intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-11-08 10:00:00' AND '2026-11-08 11:00:00'")
    assert diff(installation, "2026-11-08", "2026-11-09", intervals="15m").missing == 5
    assert diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True).filled == 0
    report = diff(installation, "2026-11-10", "2026-11-11", intervals="15m", fill=True, open_gaps=True)
    assert (report.filled, report.clean) == (5, True)


def test_a_gap_of_a_symbol_that_left_the_watchlist_is_closed_and_nothing_else_of_it_is_fetched(
    installation: Installation, replica: ReplicaHandle
) -> None:
    other = "XRP/USDT:USDT"
    installation.backfill("2026-11-08", "2026-11-09", symbols=other, intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-11-08 10:00:00' AND '2026-11-08 11:00:00'")
    assert diff(installation, "2026-11-08", "2026-11-09", symbols=(other,), intervals="15m").missing == 5
    listed = read_watchlist(installation.settings.symbols_file).symbols
    assert other not in ",".join(listed.values())
    request = DiffRequest(
        intervals=(Interval.H4, Interval.M15),
        start_ms=parse_time("2026-11-14"),
        end_ms=parse_time("2026-11-15"),
        open_gaps=True,
    )
    with installation.open() as rt:
        assert plan_diff(rt, request).open_gaps == 1
        parts = cut_diff(rt, request)
        assert [(part.symbols, part.only_gaps) for part in parts if other in part.symbols] == [((other,), True)]
        assert {part.market for part in parts if not part.only_gaps} == {Market.SPOT, Market.UM}
        run_diff(rt, parts[-1], fill=True)
    assert installation.rows("SELECT DISTINCT symbol, COUNT(*) FROM ohlcv GROUP BY 1") == [(other, 96)]
    assert installation.rows("SELECT state FROM data_gap_log") == [("filled",)]


def test_a_series_that_cannot_be_asked_has_its_holes_on_record_and_is_failed(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="15m,4h")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts = '2026-11-10 08:00:00'")
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "4h"}, "action": {"status": 500}})
    report = diff(installation, "2026-11-10", "2026-11-11", fill=True)
    assert (report.filled, report.missing, report.failed) == (1, 0, 6)
    assert {error.interval for error in report.errors} == {"4h"}
    [(state, attempts, cause)] = installation.rows(
        "SELECT state, attempts, cause FROM data_gap_log WHERE `interval` = '4h'"
    )
    assert (state, attempts) == ("refilling", 1)
    assert cause.startswith("the exchange could not be asked")
    replica.faults()
    assert diff(installation, "2026-11-10", "2026-11-11", fill=True).clean
    assert installation.rows("SELECT DISTINCT state FROM data_gap_log") == [("filled",)]


def test_to_be_told_to_wait_is_no_attempt(installation: Installation, replica: ReplicaHandle) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="4h")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts = '2026-11-10 08:00:00'")
    replica.faults({"match": {"path": "/fapi/v1/klines"}, "action": {"status": {"code": 418, "ban_s": 600}}})
    report = diff(installation, "2026-11-10", "2026-11-11", intervals="4h", fill=True)
    assert (report.failed, {error.kind for error in report.errors}) == (6, {"banned"})
    assert installation.rows("SELECT state, attempts FROM data_gap_log") == [("open", 0)]


@pytest.mark.parametrize("dataset", [Dataset.FUNDING, Dataset.METRICS])
def test_funding_and_metrics_are_put_right_too(
    installation: Installation, replica: ReplicaHandle, dataset: Dataset
) -> None:
    window = ("2026-11-10", "2026-11-14")
    installation.backfill(*window, dataset=dataset, symbols=f"{BTC},ETH/USDT:USDT")
    column = "rate" if dataset is Dataset.FUNDING else "open_interest"
    options: dict[str, Any] = {"dataset": dataset, "symbols": (BTC, "ETH/USDT:USDT")}
    before = installation.rows(f"SELECT * FROM {dataset} ORDER BY symbol, ts")
    clean = diff(installation, *window, **options)
    assert (clean.clean, clean.checked, clean.gaps) == (True, len(before), ())
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {dataset} WHERE symbol = %s AND ts = '2026-11-12 08:00:00'", (BTC,))
        connection.exec_driver_sql(f"UPDATE {dataset} SET {column} = {column} + 1 WHERE ts = '2026-11-11 00:00:00'")
    found = diff(installation, *window, **options)
    assert left(found) == (1, 2, 0, 0)
    report = diff(installation, *window, fill=True, **options)
    assert (report.filled, report.restated, report.clean) == (1, 2, True)
    after = installation.rows(f"SELECT * FROM {dataset} ORDER BY symbol, ts")
    assert [row[:-2] for row in after] == [row[:-2] for row in before]
    assert diff(installation, *window, **options).clean


def test_what_the_archive_never_tells_of_funding_is_no_difference(
    installation: Installation, replica: ReplicaHandle
) -> None:
    window = ("2026-09-01", "2026-10-01")
    installation.backfill(*window, dataset=Dataset.FUNDING, source="vision")
    assert installation.rows("SELECT COUNT(mark_price) FROM funding_rate") == [(0,)]
    untouched = diff(installation, *window, dataset=Dataset.FUNDING)
    assert (untouched.clean, untouched.checked) == (True, 90)
    repaired = diff(installation, *window, dataset=Dataset.FUNDING, fill=True)
    assert (repaired.clean, repaired.restated, repaired.filled) == (True, 0, 0)
    assert installation.rows("SELECT COUNT(mark_price), COUNT(interval_hours) FROM funding_rate") == [(90, 90)]
    assert installation.rows("SELECT COUNT(*) FROM restatement") == [(0,)]


def test_the_archive_does_not_contradict_what_rest_said_and_has_forgotten(
    installation: Installation, replica: ReplicaHandle
) -> None:
    window = ("2026-10-01", "2026-10-02")
    installation.backfill(*window, dataset=Dataset.METRICS)
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE futures_metrics SET open_interest = open_interest + 1 WHERE ts < '2026-10-01 02:00:00'"
        )
    assert diff(installation, *window, dataset=Dataset.METRICS).different == 24
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE futures_metrics SET source = 1 WHERE ts < '2026-10-01 02:00:00'")
    for fill in (False, True, True):
        found = diff(installation, *window, dataset=Dataset.METRICS, fill=fill)
        assert (found.clean, found.different, found.restated) == (True, 0, 0)


def test_metrics_of_which_nobody_is_left_to_ask_stand_and_their_holes_are_explained(
    installation: Installation, replica: ReplicaHandle
) -> None:
    window = ("2026-10-01", "2026-10-02")
    installation.backfill(*window, dataset=Dataset.METRICS)
    with installation.db.engine.begin() as connection:  # a dozen rows, as of a listing late in the day
        connection.exec_driver_sql("DELETE FROM futures_metrics WHERE ts < '2026-10-01 23:00:00'")
    replica.faults({"match": {"path": "*metrics*.zip*"}, "action": {"missing": True}})
    found = diff(installation, *window, dataset=Dataset.METRICS, fill=True)
    assert (found.clean, found.quarantined, found.unfillable) == (True, 0, 276)
    assert installation.rows("SELECT COUNT(*) FROM futures_metrics") == [(12,)]


def test_a_gap_across_a_month_is_one_gap(installation: Installation, replica: ReplicaHandle) -> None:
    installation.backfill(*BORDER, intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts < '2026-09-01 03:00:00'")
    with installation.open() as rt:
        night = Window.of("2026-08-31T20:00", "2026-09-01")
        rt.lake.remove(rt.lake.read(night, symbols=[BTC], intervals=[Interval.M15], exchange="binance"))
    found = diff(installation, *BORDER, intervals="15m")
    assert [(gap.start, gap.end, gap.bars) for gap in found.gaps] == [
        ("2026-08-31T20:00:00Z", "2026-09-01T03:00:00Z", 28)
    ]


def test_the_command_fills_and_says_what_it_did(installation: Installation, replica: ReplicaHandle) -> None:
    installation.backfill("2026-11-10", "2026-11-11", intervals="15m")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv WHERE ts BETWEEN '2026-11-10 10:00:00' AND '2026-11-10 11:00:00'")
    arguments = ("gaps", "--start", "2026-11-10", "--end", "2026-11-11", "--symbols", BTC, "--intervals", "15m")
    status, plan, _ = installation.command(*arguments, "--plan")
    assert (status, plan["series"], plan["rows"], plan["lacking"], plan["weight"]) == (0, 1, 96, 5, 1)
    status, report, _ = installation.command(*arguments)
    assert (status, report["missing"], report["filled"]) == (1, 5, 0)
    status, report, error = installation.command(*arguments, "--fill")
    assert (status, report["missing"], report["filled"]) == (0, 0, 5), error


def test_a_rewriting_of_the_lake_that_was_killed_is_entered_by_the_next_repair(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-07-10", "2026-07-12", intervals="15m,4h")
    books = "SELECT symbol, `interval`, day, `rows`, sha256 FROM archive_series ORDER BY 1, 2, 3"
    objects = "SELECT uri, `rows`, bytes, sha256, content_digest, state FROM archive_receipt ORDER BY 1"
    before = installation.rows(books), installation.rows(objects)
    unmade = f"file://{installation.lake}/ohlcv/binance-1d-2026-07.parquet"
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE archive_receipt SET state = 'rewriting'")
        connection.exec_driver_sql("DELETE FROM archive_series WHERE `interval` = '15m'")
        connection.exec_driver_sql("UPDATE archive_series SET `rows` = 7")
    begin_rewriting(installation.db, [Rewritten(unmade, "ohlcv", "binance", "1d", parse_time("2026-07-01"))])
    assert diff(installation, "2026-07-10", "2026-07-11", fill=True).clean
    assert installation.rows(books) == before[0]
    assert [row for row in installation.rows(objects) if row[0] != unmade] == before[1]
    assert [row[1:3] + row[-1:] for row in installation.rows(objects) if row[0] == unmade] == [(0, 0, "verified")]
    assert unfinished_objects(installation.db, "ohlcv") == []
