"""Whatever is planted, and in whichever order it is looked at: it is found, repaired, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.domain.datasets import Dataset
from tests.pipeline.conftest import Installation
from tests.pipeline.reconcile.planted import World, booked, last_id, plant, request, values_of

REQUESTS = (
    request(Dataset.OHLCV, "2026-08-31", "2026-09-02", "BTC/USDT:USDT,PEPE/USDT", "5m,1h,4h"),
    request(Dataset.OHLCV, "2026-11-01", "2026-11-02", "BTC/USDT", "5m,15m"),  # a halt
    request(Dataset.METRICS, "2026-11-10", "2026-11-11", "NOVA/USDT:USDT"),  # listed at eight
)
NOTHING = ("missing", "extra", "different", "failed")


@pytest.fixture
def world(installation: Installation) -> World:
    """Two and a half days in lake, MySQL and both."""
    installation.exchange.limits(um={"weight_per_minute": 10**8, "futures_data_per_5m": None},
                                 spot={"weight_per_minute": 10**8})  # fmt: skip
    for each in REQUESTS:
        installation.backfill(
            each.window.start.isoformat(), each.window.end.isoformat(),
            symbols=",".join(each.symbols), dataset=each.dataset, intervals=",".join(each.intervals),
        )  # fmt: skip
    installation.backfill("2026-09-01", "2026-09-02", symbols="PEPE/USDT", intervals="5m", into="lake", recheck="none")
    world = World.of(installation, REQUESTS)
    assert [world.untouched[name] for name in NOTHING] == [0] * 4
    return world


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    holes=st.integers(0, 12),
    altered=st.integers(0, 8),
    extra=st.integers(0, 5),
    covered=st.integers(0, 3),
    looked_at_first=st.booleans(),
)
def test_random_plants_are_found_and_repaired(
    world: World, seed: int, holes: int, altered: int, extra: int, covered: int, looked_at_first: bool
) -> None:
    books = {table: last_id(world.installation, table) for table in ("restatement", "quarantine")}
    planted = plant(world, seed=seed, holes=holes, altered=altered, extra=extra, covered=covered)
    if looked_at_first:
        found = world.compare()
        assert found.gaps["open"] == planted.gaps()
        assert [found[name] for name in NOTHING] == [planted.missing, extra, altered, 0]
    repaired = world.compare(fill=True)
    assert (repaired["filled"], repaired["restated"], repaired["quarantined"]) == (planted.missing, altered, extra)
    assert values_of(world.stored()) == values_of(world.rows)
    again = world.compare()
    assert (again.counts, again.gaps) == (world.untouched.counts, world.untouched.gaps)
    installation = world.installation
    assert booked(installation, "restatement", after_id=books["restatement"]) == set(planted.altered)
    assert booked(installation, "quarantine", after_id=books["quarantine"]) <= set(planted.extra)
    assert set(planted.extra) <= booked(installation, "quarantine"), "one that comes again is on record already"
