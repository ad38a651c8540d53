"""Five years of the real market: the comparison reports exactly its known outages as what nobody has."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.window import HOUR_MS, from_ms, iso
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.reconcile.planted import World, plant, request, values_of

ALL = request(Dataset.OHLCV, "2017-08-17T04:00", "2022-10-11T11:00", "BTC/USDT", "1h")
EIGHT = Decimal("0.00000001")


@pytest.fixture
def opens(recordings: Path) -> list[int]:
    """Open times of the recorded hours."""
    rows = json.loads((recordings / "klines_1h_4h_1d" / "spot_ccxt_json" / "BTC_USDT-1h.json").read_text())
    return [row[0] for row in rows]


@pytest.fixture
def five_years(
    recordings: Path, tmp_path: Path, make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> Installation:
    """The recorded hours of BTC/USDT, 2017 to 2022, on REST and in the lake; the recording lacks four of the values."""
    rows = json.loads((recordings / "klines_1h_4h_1d" / "spot_ccxt_json" / "BTC_USDT-1h.json").read_text())
    months: dict[str, list[str]] = defaultdict(list)
    for at, *prices, volume in rows:
        values = [f"{Decimal(repr(value)).quantize(EIGHT)}" for value in (*prices, volume)]
        line = ",".join([str(at), *values, str(at + HOUR_MS - 1), "0.00000000", "0", "0.00000000", "0.00000000", "0"])
        months[f"{from_ms(at):%Y-%m}"].append(line)
    folder = tmp_path / "spot"
    folder.mkdir()
    for month, lines in months.items():
        (folder / f"BTCUSDT-1h-{month}.csv").write_text("\n".join(lines) + "\n")
    one = make_installation(start_exchange("--data", str(tmp_path / "spot"), "--speed", "0", "--start", "2022-10-12"))
    report = one.backfill("2017-08-17T04:00", "2022-10-11T11:00", symbols="BTC/USDT", intervals="1h", into="lake")
    assert report.whole
    return one


def test_the_known_outages_are_unfillable_and_nothing_else_is_found(five_years: Installation, opens: list[int]) -> None:
    holes = [
        (iso(before + HOUR_MS), iso(after), (after - before) // HOUR_MS - 1)
        for before, after in itertools.pairwise(opens)
        if after - before > HOUR_MS
    ]
    assert (len(holes), sum(rows for _, _, rows in holes)) == (27, 127), "the recording is the one that was counted"
    with five_years.db.engine.begin() as connection:  # as if nobody had ever looked
        connection.exec_driver_sql("DELETE FROM data_gap_log")

    world = World.of(five_years, [ALL])
    found = world.untouched
    assert not found.errors
    assert [found[name] for name in ("missing", "extra", "different", "failed")] == [0] * 4
    assert (found["checked"], found["unfillable"]) == (len(opens) + 127, 127)
    assert sorted(row[3:] for row in found.gaps["unfillable"]) == holes

    planted = plant(world, seed=4, holes=15, altered=10, extra=10)
    found = world.compare()
    assert found.gaps["open"] == planted.gaps()
    assert (found["missing"], found["different"], found["extra"]) == (planted.missing, 10, 10)
    assert found["unfillable"] == 127 - 10, "ten of the hours that nobody has are stored"
    repaired = world.compare(fill=True)
    assert (repaired["filled"], repaired["restated"], repaired["quarantined"]) == (planted.missing, 10, 10)
    assert values_of(world.stored()) == values_of(world.rows)
    again = world.compare()
    assert sorted(row[3:] for row in again.gaps["unfillable"]) == holes
    assert again.counts == world.untouched.counts
