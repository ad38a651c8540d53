"""Real recordings through the whole engine: to the last digit, and with exactly the outages that are on record."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import zipfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.window import from_ms, iso
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import MakeInstallation

HOUR_MS = 3_600_000
EIGHT = Decimal("0.00000001")


def csv_rows(text: str) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(text)))
    return rows[1:] if not rows[0][0].isdigit() else rows


def as_stored(rows: list[list[str]]) -> list[tuple[Any, ...]]:
    """Lines of an archive file as `lake_bars` gives bars: open time, then the nine values, exact."""
    return [
        (
            int(row[0]) // (1000 if len(row[0]) == 16 else 1),
            *(Decimal(value) for value in row[1:6]),
            Decimal(row[7]),
            int(row[8]),
            Decimal(row[9]),
            Decimal(row[10]),
        )
        for row in rows
    ]


def test_real_archive_files_come_out_to_the_last_digit(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory, recordings: Path, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    shutil.copytree(recordings / "vision_zip" / "spot", served / "spot")
    shutil.copytree(recordings / "klines_1m" / "um_futures_vision_csv", served / "futures" / "um")
    exchange = start_exchange("--data", str(served), "--speed", "0", "--start", "2026-05-20")
    one = make_installation(exchange)
    jobs = [
        ("BTC/USDT", "1m", "2020-01-01", "2020-01-03"),
        ("BTC/USDT", "1h", "2026-05-08", "2026-05-09"),
        ("ALGO/USDT:USDT", "1m", "2024-09-01", "2024-10-01"),
        ("AVAX/USDT:USDT", "1m", "2023-09-01", "2023-10-01"),
    ]
    for symbol, interval, start, end in jobs:
        report = one.backfill(start, end, symbols=symbol, intervals=interval, into="lake", source="vision")
        assert report.whole, (symbol, report.errors, report.series)
    stored: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for bar in one.lake_bars():
        stored[bar[0], bar[1]].append((bar[2], *bar[4:13]))
    real: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for path in sorted((recordings / "vision_zip" / "spot").rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            real["BTC/USDT", path.name.split("-")[1]] += as_stored(
                csv_rows(archive.read(archive.namelist()[0]).decode())
            )
    for path in (recordings / "klines_1m" / "um_futures_vision_csv").glob("*.csv"):
        symbol = f"{path.name.split('USDT')[0]}/USDT:USDT"
        real[symbol, "1m"] = as_stored(csv_rows(path.read_text()))
    assert stored.keys() == real.keys()
    for series, bars in real.items():
        assert stored[series] == bars, series
    states = {row[0] for row in one.rows("SELECT checksum FROM archive_object WHERE path LIKE '%%BTCUSDT%%'")}
    assert states == {"verified"}


def test_hours_made_of_stored_minutes_equal_the_hours_of_the_recorded_market(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory, recordings: Path
) -> None:
    exchange = start_exchange("--data", str(recordings / "klines_1m"), "--speed", "0", "--start", "2024-10-02")
    one = make_installation(exchange)
    report = one.backfill(
        "2024-09-01", "2024-10-01", symbols="ALGO/USDT:USDT", intervals="1m,1h", into="lake", source="auto"
    )
    assert report.whole, (report.errors, report.series)
    bars = one.lake_bars()
    hours = {bar[2]: bar for bar in bars if bar[1] == "1h"}
    minutes: dict[int, list[Any]] = defaultdict(list)
    for bar in bars:
        if bar[1] == "1m":
            minutes[bar[2] - bar[2] % HOUR_MS].append(bar)
    assert len(hours) == len(minutes) == 720
    for at, parts in minutes.items():
        made = (parts[0][4], max(p[5] for p in parts), min(p[6] for p in parts), parts[-1][7],
                *(sum(p[place] for p in parts) for place in range(8, 13)))  # fmt: skip
        assert made == hours[at][4:13], iso(at)


@pytest.fixture
def five_years(recordings: Path, tmp_path: Path) -> tuple[Path, list[int]]:
    """The recorded hours of BTC/USDT, 2017 to 2022, as archive files; the recording lacks four of the nine values."""
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
    return tmp_path, [row[0] for row in rows]


def test_the_known_outages_of_five_years_are_unfillable_and_no_others(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory, five_years: tuple[Path, list[int]]
) -> None:
    folder, times = five_years
    one = make_installation(start_exchange("--data", str(folder), "--speed", "0", "--start", "2022-10-12"))
    report = one.backfill("2017-08-01", "2022-10-11T11:00", symbols="BTC/USDT", intervals="1h", into="lake")
    assert not report.errors
    logged = one.rows("SELECT gap_start, gap_end, bars, state FROM data_gap_log ORDER BY gap_start")
    holes = [(b - a) // HOUR_MS - 1 for a, b in itertools.pairwise(times) if b - a > HOUR_MS]
    assert (len(holes), sum(holes)) == (27, 127), "the recording is the one that was counted"
    assert [row[2] for row in logged] == holes
    assert {row[3] for row in logged} == {"unfillable"}
    assert [int(row[0].timestamp()) for row in logged] == [
        (a + HOUR_MS) // 1000 for a, b in itertools.pairwise(times) if b - a > HOUR_MS
    ]
    assert (report.bars_expected, report.bars_present, report.unfillable) == (len(times) + 127, len(times), 127)
    assert report.whole


def test_the_real_month_of_funding_comes_out_exactly(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory, recordings: Path
) -> None:
    exchange = start_exchange("--data", str(recordings), "--speed", "0", "--start", "2026-05-20")
    one = make_installation(exchange)
    report = one.backfill(
        "2026-04-01", "2026-05-01", symbols="BTC/USDT:USDT", dataset=Dataset.FUNDING, into="mysql", source="vision"
    )
    assert report.whole, (report.errors, report.series)
    name = "vision_zip/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-04.zip"
    with zipfile.ZipFile(recordings / name) as archive:
        real = csv_rows(archive.read(archive.namelist()[0]).decode())
    stored = one.rows(
        "SELECT CAST(UNIX_TIMESTAMP(exchange_ts) * 1000 AS SIGNED), rate, interval_hours FROM funding_rate ORDER BY ts"
    )
    assert stored == [(int(at), Decimal(rate), int(hours)) for at, hours, rate in real]
    assert (report.bars_expected, report.bars_present) == (90, 90)
