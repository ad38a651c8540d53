"""Every planted fault is found and repaired, and nothing else is: over all datasets, both stores and their border."""

from __future__ import annotations

import pytest

from gapless.domain.datasets import Dataset
from gapless.pipeline.reconcile.run import run_diff
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.reconcile.planted import World, booked, last_id, plant, request, values_of

BARS, FUNDING, METRICS = Dataset.OHLCV, Dataset.FUNDING, Dataset.METRICS
REQUESTS = (
    request(BARS, "2026-08-11", "2026-08-12", "BTC/USDT,ETH/USDT,BTC/USDT:USDT"),  # a halt of spot, in the lake
    request(BARS, "2026-08-30", "2026-09-02", "BTC/USDT,ETH/USDT,BTC/USDT:USDT,DOGE/USDT:USDT"),  # lake, then MySQL
    request(BARS, "2026-11-01", "2026-11-02", "BTC/USDT,PEPE/USDT,1000PEPE/USDT:USDT"),  # a halt of spot, in MySQL
    request(BARS, "2026-11-09", "2026-11-13", "NOVA/USDT:USDT,NOVA/USDT", "5m,15m,1h,4h,1d"),  # listed meanwhile
    request(FUNDING, "2026-08-20", "2026-09-12", "BTC/USDT:USDT,1000PEPE/USDT:USDT,币安人生/USDT:USDT"),
    request(METRICS, "2026-11-09", "2026-11-13", "BTC/USDT:USDT,NOVA/USDT:USDT"),
    request(METRICS, "2026-08-30", "2026-09-02", "ETH/USDT:USDT"),  # REST has forgotten them; the archive has them
)


@pytest.fixture
def installation(make_installation: MakeInstallation, start_exchange: ReplicaFactory) -> Installation:
    """On the frozen generated market, without limits."""
    exchange = start_exchange(
        "--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30",
        "--um-weight", "100000000", "--spot-weight", "100000000",
    )  # fmt: skip
    exchange.limits(um={"funding_per_5m": None, "futures_data_per_5m": None})
    return make_installation(exchange)


def fill(installation: Installation) -> None:
    for each in REQUESTS:
        window = (each.window.start.isoformat(), each.window.end.isoformat())
        report = installation.backfill(
            *window, symbols=",".join(each.symbols), dataset=each.dataset, intervals=",".join(each.intervals)
        )
        assert not report.errors
    # The archive tells no mark price of a settlement, REST does: what is seen as one is made of both.
    with installation.open() as rt:
        for each in REQUESTS:
            if each.dataset is FUNDING:
                run_diff(rt, each, fill=True)
    # Some of it in both stores.
    both = {"symbols": "ETH/USDT,DOGE/USDT:USDT", "intervals": "1m,1h", "recheck": "none"}
    installation.backfill("2026-08-30", "2026-09-02", into="mysql", **both)
    installation.backfill("2026-08-30", "2026-09-02", into="lake", **both)


def test_five_hundred_holes_two_hundred_values_and_fifty_rows_too_many(installation: Installation) -> None:
    fill(installation)
    world = World.of(installation, REQUESTS)
    untouched = world.untouched
    assert not untouched.errors
    assert [untouched[name] for name in ("missing", "extra", "different", "failed")] == [0] * 4
    assert untouched["unfillable"] > 100, "halts"
    planted = plant(world, seed=11, holes=500, altered=200, extra=50, covered=20)
    assert (len(planted.altered), len(planted.extra)) == (200, 50)
    print(f"{planted.missing} rows missing, {untouched['checked']} rows compared")

    found = world.compare()
    assert not found.errors
    assert found.gaps["open"] ^ planted.gaps() == set()
    assert (found["missing"], found["different"], found["extra"]) == (planted.missing, 200, 50)
    assert (found["failed"], found["filled"], found["restated"], found["quarantined"]) == (0, 0, 0, 0)

    restated = last_id(installation, "restatement")
    repaired = world.compare(fill=True)
    assert (repaired["filled"], repaired["restated"], repaired["quarantined"]) == (planted.missing, 200, 50)
    assert [repaired[name] for name in ("missing", "extra", "different", "failed")] == [0] * 4
    assert values_of(world.stored()) == values_of(world.rows)

    assert booked(installation, "restatement", after_id=restated, where="applied") == set(planted.altered)
    assert booked(installation, "quarantine", where="reason = 'extra'") == set(planted.extra)
    logged = installation.rows("SELECT state, SUM(bars) FROM data_gap_log GROUP BY state ORDER BY state")
    assert logged == [("filled", planted.missing), ("unfillable", untouched["unfillable"])]

    again = world.compare()
    assert again.counts == untouched.counts
    assert again.gaps == untouched.gaps
