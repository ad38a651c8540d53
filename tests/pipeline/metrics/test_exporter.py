"""Scrapes of a real installation: what the books hold is told; a database that is away is told too, and in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gapless.domain.window import Window, parse_time
from gapless.monitoring.serving import MetricsServer
from gapless.pipeline.completeness import record_completeness
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.metrics import ExchangeTime, Exporter, open_for_scrapes
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Gap, record_gaps
from gapless.storage.mysql.checks import CheckRun, count_up, put_check
from tests.bars import bars
from tests.fixtures.forks import Forked, run_forked
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_mysql

BTC = "BTC/USDT:USDT"
Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with open_for_scrapes(installation.settings, say=installation.said.append) as opened:
        refresh_instruments(opened)
        yield opened


def read(text: bytes | str) -> Told:
    plain = text.decode() if isinstance(text, bytes) else text
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(plain)
        for s in family.samples
    }


def scrape(rt: Runtime) -> Told:
    return scrape_with(rt, ExchangeTime())


def scrape_with(rt: Runtime, clock: ExchangeTime) -> Told:
    exporter = Exporter(rt, clock)
    try:
        return read(exporter.scrape())
    finally:
        exporter.close()


def of(told: Told, name: str, **labels: str) -> float:
    return told[name, tuple(sorted(labels.items()))]


def test_an_empty_installation_is_up_and_counts_from_nothing(rt: Runtime) -> None:
    told = scrape(rt)
    assert of(told, "gapless_up") == 1
    assert {of(told, "missing_bars_total", interval=each) for each in ("1m", "5m", "15m", "1h", "4h", "1d")} == {0}
    assert of(told, "review_waiting") == of(told, "pages_open") == of(told, "gap_oldest_open_seconds") == 0
    assert not [name for name, _ in told if name in ("job_success_total", "gap_rows", "check_state")]


def test_totals_that_ended_processes_counted_are_told(rt: Runtime) -> None:
    count_up(rt.db, "missing_bars", {(("interval", "1m"),): 3})
    count_up(rt.db, "missing_bars", {(("interval", "1m"),): 4, (("interval", "1h"),): 1})
    count_up(rt.db, "job_success", {(("job", "ohlcv_etl"),): 24})
    count_up(rt.db, "job_failure", {(("job", "ohlcv_etl"),): 0})
    count_up(rt.db, "of_another_version", {(("x", "y"),): 1})
    count_up(rt.db, "job_failure", {(("other", "label"),): 1})
    told = scrape(rt)
    assert of(told, "missing_bars_total", interval="1m") == 7
    assert of(told, "missing_bars_total", interval="1h") == 1
    assert of(told, "job_success_total", job="ohlcv_etl") == 24
    assert of(told, "job_failure_total", job="ohlcv_etl") == 0
    assert len([name for name, _ in told if name == "job_failure_total"]) == 1


def test_refused_rows_are_counted_by_reason_under_the_agreed_name(installation: Installation, rt: Runtime) -> None:
    columns = "identity, dataset, exchange, symbol, `interval`, reason, detail, payload, batch_key, first_seen"
    for number, reason in enumerate(("precision", "precision", "ohlc_order")):
        with installation.db.engine.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO quarantine ({columns}) VALUES (%s, 'ohlcv', 'binance', %s, '1m', %s, '', '', '', NOW())",
                (f"{number:064d}", BTC, reason),
            )
    told = scrape(rt)
    assert of(told, "dq_drop_counter", reason="precision") == 2
    assert of(told, "dq_drop_counter", reason="ohlc_order") == 1


def test_gaps_are_told_by_state_and_the_oldest_unsettled_one_by_age(installation: Installation, rt: Runtime) -> None:
    day = Window.of("2026-11-10", "2026-11-11")
    first, second = Window(day.start_ms, day.start_ms + 60_000 * 5), Window(day.end_ms - 60_000, day.end_ms)
    record_gaps(
        rt.db,
        [
            Gap("binance", BTC, "ohlcv", "1m", first, 5, "failed", ""),
            Gap("binance", BTC, "ohlcv", "1m", second, 1, "unfillable", ""),
        ],
        within={},
    )
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE data_gap_log SET noticed_at = UTC_TIMESTAMP() - INTERVAL 1 DAY")
    told = scrape(rt)
    assert of(told, "gap_rows", dataset="ohlcv", interval="1m", state="failed") == 5
    assert of(told, "gap_rows", dataset="ohlcv", interval="1m", state="unfillable") == 1
    assert 86_400 <= of(told, "gap_oldest_open_seconds") < 86_460


def check(kind: str, state: str, finished_ms: int, **result: Any) -> CheckRun:
    day = Window.of("2026-11-14", "2026-11-15")
    return CheckRun(f"{kind}{finished_ms}".ljust(64, "0"), kind, "ohlcv", day, state, result, "", 1, finished_ms)


def test_the_newest_run_of_each_check_is_told(rt: Runtime) -> None:
    put_check(rt.db, check("gap_diff", "dirty", 2_000_000, checked=10, missing=3, seconds=1.5, gaps=[{"bars": 3}]))
    put_check(rt.db, check("gap_diff", "clean", 3_000_000, checked=20, missing=0, whole=True))
    put_check(rt.db, check("audit", "failed", 1_000_000, sampled=5, seed=7))
    told = scrape(rt)
    assert of(told, "check_state", kind="gap_diff", dataset="ohlcv", state="clean") == 1
    assert of(told, "check_state", kind="gap_diff", dataset="ohlcv", state="dirty") == 0
    assert of(told, "check_state", kind="audit", dataset="ohlcv", state="failed") == 1
    assert of(told, "check_finished_timestamp_seconds", kind="gap_diff", dataset="ohlcv") == 3000
    counted = {dict(labels)["result"]: value for (name, labels), value in told.items() if name == "check_rows"}
    assert counted == {"checked": 20, "missing": 0, "sampled": 5}


def test_completeness_is_measured_once_and_told_from_the_books(rt: Runtime) -> None:
    into_mysql(rt, bars(BTC, "1d", "2026-10-01", 30))
    rows = record_completeness(rt, months=2, link="http://airflow/run")
    assert {row.month for row in rows if row.market == "um"} == {"2026-10", "2026-11"}
    again = record_completeness(rt, months=2)
    assert again == rows
    told = scrape(rt)
    ratio = of(told, "completeness_ratio", market="um", interval="1d", month="2026-10")
    (row,) = (r for r in rows if (r.market, r.interval, r.month) == ("um", "1d", "2026-10"))
    assert ratio == row.present / (row.expected - row.unfillable)
    assert 0 < ratio < 1
    assert of(told, "check_state", kind="completeness", dataset="ohlcv", state="dirty") == 1


def test_the_lag_goes_by_the_exchanges_clock(rt: Runtime) -> None:
    for interval, count in (("1m", 90), ("1h", 40)):
        into_mysql(
            rt,
            bars(BTC, interval, parse_time("2026-11-15T12:00") - count * {"1m": 1, "1h": 60}[interval] * 60_000, count),
        )
    clock = ExchangeTime()
    clock.ask(rt)
    told = scrape_with(rt, clock)
    assert of(told, "ingest_lag_seconds", source="binance_um", interval="1h") > 0, "others of the watchlist"
    assert abs(of(told, "exchange_clock_offset_seconds")) > 3600, "the replica's clock stands elsewhere"
    assert clock.now_ms() - parse_time("2026-11-15T12:30:30") < 60_000


def test_a_watchlist_that_cannot_be_read_takes_the_lag_away_and_nothing_else(
    installation: Installation, tmp_path: Any
) -> None:
    settings = installation.settings.model_copy(update={"symbols_file": tmp_path / "none.yaml"})
    with open_for_scrapes(settings, say=installation.said.append) as rt:
        told = scrape(rt)
    assert of(told, "gapless_up") == 1
    assert not [name for name, _ in told if name == "ingest_lag_seconds"]
    assert any("ingest_lag_seconds cannot be told" in line for line in installation.said)


def test_a_database_that_is_away_is_down_and_nothing_else(installation: Installation) -> None:
    url = "mysql://nobody:nothing@127.0.0.1:9/none"
    settings = installation.settings.model_copy(update={"mysql_url": type(installation.settings.mysql_url)(url)})
    with open_for_scrapes(settings, say=installation.said.append) as rt:
        assert scrape(rt) == {("gapless_up", ()): 0.0}
    assert any("no metrics but gapless_up" in line for line in installation.said)


def test_a_database_that_hangs_is_down_within_the_patience_and_is_waited_for_by_one(
    installation: Installation, rt: Runtime
) -> None:
    exporter = Exporter(rt, ExchangeTime(), patience_s=0.3)
    with installation.db.engine.connect() as holder:
        holder.exec_driver_sql("LOCK TABLES counter WRITE")
        began = time.monotonic()
        assert [read(exporter.scrape()) for _ in range(2)] == [{("gapless_up", ()): 0.0}] * 2
        assert time.monotonic() - began < 5
        query = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%%metadata lock%%' AND db = %s"
        waiting = holder.exec_driver_sql(query, (installation.db.database,)).scalar()
        holder.exec_driver_sql("UNLOCK TABLES")
    assert waiting == 1
    patient = Exporter(rt, ExchangeTime())
    assert of(read(patient.scrape()), "gapless_up") == 1
    exporter.close()
    patient.close()


def test_scrapes_at_once_share_one_look(rt: Runtime) -> None:
    exporter = Exporter(rt, ExchangeTime(), fresh_s=60)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(exporter.scrape())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    exporter.close()
    assert len(found) == 6
    assert len(set(found)) == 1, "gapless_collect_seconds would differ"


def get(url: str, method: str = "GET") -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def test_the_command_prints_once_what_a_scrape_would_tell(installation: Installation) -> None:
    result = run_forked(
        [sys.executable, "-m", "gapless", "metrics"],
        env=installation.environment, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert of(read(result.stdout), "gapless_up") == 1


def test_the_command_serves_until_it_is_told_to_end(installation: Installation) -> None:
    with Forked(
        [sys.executable, "-m", "gapless", "metrics", "--serve", "--port", "0"],
        env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        status, kind, body = get(ready["metrics"])
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert of(read(body), "gapless_up") == 1
        assert get(ready["healthz"]) == (200, "text/plain; charset=utf-8", b"ok\n")
        assert get(ready["metrics"], "HEAD")[2] == b""
        assert get(ready["metrics"].replace("/metrics", "/"))[0] == 404
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_command_serves_on_the_address_it_is_given(installation: Installation) -> None:
    words = [sys.executable, "-m", "gapless", "metrics"]
    refused = run_forked([*words, "--host", "127.0.0.2"], env=installation.environment, text=True)
    assert (refused.returncode, "add --serve" in refused.stderr) == (2, True)
    with Forked(
        [*words, "--serve", "--port", "0", "--host", "127.0.0.2"],
        env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["healthz"].startswith("http://127.0.0.2:")
        assert get(ready["healthz"])[0] == 200
        process.terminate()
        assert process.wait(60) == 0


def test_a_collection_that_breaks_is_500_and_the_server_lives() -> None:
    answers: Iterator[bytes] = iter([b"gapless_up 1\n"])
    server = MetricsServer(lambda: next(answers), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert get(f"{server.url}/metrics?x=1")[0] == 200
        assert get(f"{server.url}/metrics")[0] == 500
        assert get(f"{server.url}/healthz")[0] == 200
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "9100"], "add --serve"),
        (["--serve", "--port", "seventy"], "not a port"),
        (["--serve", "--port", "70000"], "not a port"),
    ],
)
def test_wrong_usage_is_status_2(installation: Installation, arguments: list[str], said: str) -> None:
    result = run_forked(
        [sys.executable, "-m", "gapless", "metrics", *arguments],
        env=installation.environment, text=True, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_said(installation: Installation) -> None:
    server = MetricsServer(lambda: b"", 0)
    result = run_forked(
        [sys.executable, "-m", "gapless", "metrics", "--serve", "--port", str(server.server_address[1])],
        env=installation.environment, text=True, timeout=60,
    )  # fmt: skip
    server.server_close()
    assert result.returncode == 2
    assert "cannot listen" in result.stderr


def test_with_the_exchange_out_of_reach_the_lag_is_told_by_the_hosts_clock_and_said_so(
    installation: Installation, rt: Runtime
) -> None:
    into_mysql(rt, bars(BTC, "1h", "2026-11-14T00:00", 24))
    installation.exchange.stop()
    clock = ExchangeTime(host_ms=lambda: parse_time("2026-11-15T12:30:30"))
    with clock.kept(rt):
        told = scrape_with(rt, clock)
    assert of(told, "ingest_lag_seconds", source="binance_um", interval="1h") > 0
    assert ("exchange_clock_offset_seconds", ()) not in told
    assert any("the exchange's clock cannot be read" in line for line in installation.said)


def test_spot_is_asked_for_the_time_where_futures_do_not_answer(installation: Installation) -> None:
    settings = installation.settings.model_copy(update={"binance_um_rest_url": "http://127.0.0.1:9"})
    with open_for_scrapes(settings, say=installation.said.append) as rt:
        clock = ExchangeTime()
        clock.ask(rt)
    assert abs(clock.now_ms() - parse_time("2026-11-15T12:30:30")) < 60_000
