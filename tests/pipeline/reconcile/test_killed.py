"""A repair killed anywhere and done again leaves what an undisturbed one leaves, in both stores and in the books."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.window import Window, parse_time
from tests.fixtures.forks import Forked
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

SYMBOLS = "BTC/USDT,BTC/USDT:USDT,ETH/USDT:USDT"
HOT = ("2026-11-10", "2026-11-12")


def test_killed_at_random_points_and_run_again_it_equals_an_undisturbed_repair(
    make_installation: MakeInstallation, replica: ReplicaHandle, tmp_path: Path, kind: str
) -> None:
    replica.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    cold = _cold_days(replica)
    undisturbed, killed = (_damaged(make_installation(replica, name=name, kind=kind), cold) for name in ("one", "two"))
    for window in (HOT, cold):
        assert _repair(undisturbed, window, tmp_path / "undisturbed.log").wait(120) == 0

    seed = random.randrange(2**32)
    rng, interrupted = random.Random(seed), 0
    for number in range(4):
        before = _work(killed)
        process = _repair(killed, (HOT, cold)[number % 2], tmp_path / f"killed-{number}.log")
        if _await_work(killed, before, process):
            try:
                process.wait(rng.uniform(0, 0.15))
            except subprocess.TimeoutExpired:
                process.kill()
                interrupted += 1
        process.wait(60)
    for window in (HOT, cold):
        log = tmp_path / "last.log"
        assert _repair(killed, window, log).wait(120) == 0, log.read_text()
    assert interrupted, f"seed {seed}: every repair ended before it was killed"
    expected, found = _left_behind(undisturbed), _left_behind(killed)
    for what, value in expected.items():
        assert set(found[what]) ^ set(value) == set(), f"seed {seed}: {what} differs"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _cold_days(replica: ReplicaHandle) -> tuple[str, str]:
    """Two days of the lake with a halt in them: where a row can be too many."""
    halt = replica.halts("spot", "2026-04-01", "2026-08-01")[0]
    day = parse_time(halt["start"][:10])
    return halt["start"][:10], Window(day, day + 2 * 86_400_000).end.date().isoformat()


def _damaged(installation: Installation, cold: tuple[str, str]) -> Installation:
    """Hot days in MySQL, cold ones in the lake and in MySQL; holes, other values and a row too many in each."""
    installation.backfill(*HOT, symbols=SYMBOLS, intervals="1m,5m,1h")
    for store in ("lake", "mysql"):
        installation.backfill(*cold, symbols=SYMBOLS, intervals="1m,1h", into=store)
    halt = installation.exchange.halts("spot", "2026-04-01", "2026-08-01")[0]["start"][:19].replace("T", " ")
    statements = (
        "DELETE FROM ohlcv WHERE `interval` = '1m' AND MINUTE(ts) BETWEEN 10 AND 29 AND HOUR(ts) IN (3, 4, 15)",
        "DELETE FROM ohlcv WHERE `interval` = '5m' AND symbol = 'BTC/USDT:USDT' AND ts >= '2026-11-11'",
        "UPDATE ohlcv SET trades = trades + 7 WHERE `interval` = '1h' AND HOUR(ts) = 8",
        "INSERT INTO ohlcv SELECT symbol, `interval`, %s, exchange, open, high, low, close, volume, quote_volume,"
        " trades, taker_buy_volume, taker_buy_quote_volume, source, receipt_id FROM ohlcv WHERE symbol = 'BTC/USDT'"
        " AND `interval` = '1m' ORDER BY ts LIMIT 1",
    )
    with installation.db.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, (halt,) if "%s" in statement else None)
    with installation.open() as rt:
        from gapless.domain.interval import Interval

        night = Window(parse_time(cold[1]) - 3_600_000, parse_time(cold[1]))
        rt.lake.remove(rt.lake.read(night, symbols=["ETH/USDT:USDT"], intervals=[Interval.M1], exchange="binance"))
    return installation


def _repair(installation: Installation, window: tuple[str, str], log: Path) -> subprocess.Popen[bytes]:
    bounds = ("--start", window[0], "--end", window[1])
    command = [sys.executable, "-m", "gapless", "gaps", *bounds, "--symbols", SYMBOLS, "--intervals", "1m,5m,1h"]
    with log.open("wb") as stream:
        return Forked([*command, "--fill"], env=installation.environment, stdout=stream, stderr=stream)


def _work(installation: Installation) -> tuple[Any, ...]:
    """What a repair has come to: it changes with everything that one puts at rest."""
    counts = [
        installation.rows(f"SELECT COUNT(*) FROM {table}")[0][0]
        for table in ("ohlcv", "load_receipt", "restatement", "quarantine", "data_gap_log")
    ]
    return (*counts, installation.rows("SELECT MAX(verified_at) FROM archive_receipt")[0][0])


def _await_work(installation: Installation, before: tuple[Any, ...], process: subprocess.Popen[bytes]) -> bool:
    """Wait until the repair has put something at rest; False when it ended first."""
    deadline = time.monotonic() + 60
    while _work(installation) == before:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return False
    return True


def _left_behind(installation: Installation) -> dict[str, Any]:
    """Rows of both stores, what is in the books of gaps, restatements and quarantine, and the lake's own digests."""
    return {
        "bars": installation.mysql_bars(),
        "lake": installation.lake_bars(),
        "gaps": installation.rows(
            "SELECT symbol, `interval`, gap_start, gap_end, bars, state FROM data_gap_log ORDER BY 1, 2, 3"
        ),
        "restated": installation.rows(
            "SELECT DISTINCT symbol, `interval`, ts, old_values, new_values FROM restatement ORDER BY 1, 2, 3"
        ),
        "quarantine": installation.rows("SELECT symbol, `interval`, ts, reason FROM quarantine ORDER BY 1, 2, 3"),
        "digests": installation.rows(
            "SELECT symbol, `interval`, day, `rows`, sha256 FROM archive_series ORDER BY 1, 2, 3"
        ),
        "objects": installation.rows(
            "SELECT `interval`, period_start, `rows`, sha256, content_digest, state FROM archive_receipt ORDER BY 1, 2"
        ),
    }
