"""Recorded data: served word for word, with exact aggregates."""

from __future__ import annotations

import csv
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, parse_time
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS
from replica.query import KlineQuery
from replica.recorded import RecordedSource
from replica.refusal import Refusal

FOREVER = parse_time("2040-01-01")
NAMES = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)


def query(
    market: str, symbol: str, interval: str, start: str | None = None, limit: int = 1500, **more: Any
) -> KlineQuery:
    start_ms = parse_time(start) if start else None
    return KlineQuery(
        Market(market), symbol, interval, INTERVAL_MS[interval], start_ms, more.pop("end_ms", None), limit, **more
    )


def paged(source: RecordedSource, market: str, symbol: str, interval: str, start: str) -> list[list[Any]]:
    rows: list[list[Any]] = []
    at = parse_time(start)
    while page := source.rows(
        KlineQuery(Market(market), symbol, interval, INTERVAL_MS[interval], at, None, 1500), FOREVER
    ):
        rows += [json.loads(row) for row in page]
        at = rows[-1][0] + INTERVAL_MS[interval]
    return rows


@pytest.mark.parametrize(
    ("symbol", "month", "bars"), [("ALGOUSDT", "2024-09", 43_200), ("AVAXUSDT", "2023-09", 43_200)]
)
def test_a_real_futures_month_is_served_to_the_last_digit(recordings: Path, symbol: str, month: str, bars: int) -> None:
    source = RecordedSource(recordings / "klines_1m")
    served = paged(source, "um", symbol, "1m", f"{month}-01")
    with (recordings / f"klines_1m/um_futures_vision_csv/{symbol}-1m-{month}.csv").open() as file:
        real = list(csv.reader(file))[1:]
    assert len(served) == len(real) == bars
    assert [[str(value) for value in row] for row in served] == real


def test_real_spot_days_are_served_to_the_last_digit_whatever_the_unit(recordings: Path) -> None:
    folder = recordings / "vision_zip"
    source = RecordedSource(folder)
    for path, interval in (("1m/BTCUSDT-1m-2020-01-01", "1m"), ("1h/BTCUSDT-1h-2026-05-08", "1h")):
        with zipfile.ZipFile(folder / f"spot/daily/klines/BTCUSDT/{path}.zip") as archive:
            real = list(csv.reader(archive.read(archive.namelist()[0]).decode().splitlines()))
        served = paged(source, "spot", "BTCUSDT", interval, path[-10:])[: len(real)]
        micros = len(real[0][0]) == 16
        unit = 1000 if micros else 1
        assert [(str(row[0] * unit), str(row[6])) for row in served] == [(r[0], str(int(r[6]) // unit)) for r in real]
        assert [[str(v) for v in [*row[1:6], *row[7:]]] for row in served] == [[*r[1:6], *r[7:]] for r in real]
        if micros:
            exact = source.rows(query("spot", "BTCUSDT", interval, path[-10:], len(real), micros=True), FOREVER)
            assert [[str(value) for value in json.loads(row)] for row in exact] == real


def test_longer_bars_are_exact_aggregates_of_recorded_minutes(recordings: Path) -> None:
    source = RecordedSource(recordings / "klines_1m")
    minutes = paged(source, "um", "ALGOUSDT", "1m", "2024-09-01")
    for interval in ("5m", "1h", "1d"):
        step = INTERVAL_MS[interval]
        long = paged(source, "um", "ALGOUSDT", interval, "2024-09-01")
        assert len(long) == 30 * DAY_MS // step
        for bar in long[:: max(1, len(long) // 40)]:
            parts = [row for row in minutes if bar[0] <= row[0] < bar[0] + step]
            assert bar[1] == parts[0][1]
            assert bar[4] == parts[-1][4]
            assert Decimal(bar[2]) == max(Decimal(row[2]) for row in parts)
            assert Decimal(bar[3]) == min(Decimal(row[3]) for row in parts)
            assert bar[8] == sum(row[8] for row in parts)
            for place in (5, 7, 9, 10):
                assert Decimal(bar[place]) == sum(Decimal(row[place]) for row in parts)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Ten minutes of one symbol on 2024-09-01, in a month's file below `um` and, closing otherwise, in a day's."""
    start = parse_time("2024-09-01")

    def lines(close: str) -> str:
        rows = [
            f"{start + at * 60_000},1.0,2.0,0.5,{close},10.5,{start + at * 60_000 + 59_999},12.25,3,4.5,5.25,0"
            for at in range(10)
        ]
        return "\n".join(rows) + "\n"

    (tmp_path / "um").mkdir()
    (tmp_path / "um" / "龙虾USDT-1m-2024-09.csv").write_text(lines("1.5"))
    (tmp_path / "um" / "龙虾USDT-1m-2024-09-01.csv").write_text("open_time,open\n" + lines("1.6"))
    return tmp_path


def test_a_days_file_stands_above_its_months(small: Path) -> None:
    rows = RecordedSource(small).rows(query("um", "龙虾USDT", "1m"), FOREVER)
    assert len(rows) == 10
    assert {json.loads(row)[4] for row in rows} == {"1.6"}


def test_the_clock_decides_what_has_happened(small: Path) -> None:
    source = RecordedSource(small)
    now = parse_time("2024-09-01T00:04:30")
    minutes = [json.loads(row) for row in source.rows(query("um", "龙虾USDT", "1m"), now)]
    assert len(minutes) == 5
    assert minutes[-1][1:6] == ["1.0", "1.0", "1.0", "1.0", "0"]
    (hour,) = (json.loads(row) for row in source.rows(query("um", "龙虾USDT", "1h"), now))
    assert (hour[5], hour[8]) == ("42.0", 12)
    assert source.end_ms() == parse_time("2024-09-01T00:10")


def test_paging_directions(small: Path) -> None:
    source = RecordedSource(small)

    def minutes(start: str | None, limit: int, end_ms: int | None = None) -> list[int]:
        rows = source.rows(query("um", "龙虾USDT", "1m", start, limit, end_ms=end_ms), FOREVER)
        return [json.loads(row)[0] % DAY_MS // 60_000 for row in rows]

    assert minutes(None, 3) == [7, 8, 9]
    assert minutes("2024-09-01T00:02", 3) == [2, 3, 4]
    assert minutes(None, 2, parse_time("2024-09-01T00:04")) == [3, 4]
    assert minutes("2024-09-01T00:02", 9, parse_time("2024-09-01T00:04")) == [2, 3, 4]


def test_an_instrument_without_a_recorded_description_is_told_from_its_bars(small: Path) -> None:
    symbol = RecordedSource(small).symbols(Market.UM, 0)["龙虾USDT"]
    assert (symbol["baseAsset"], symbol["quoteAsset"], symbol["onboardDate"]) == (
        "龙虾",
        "USDT",
        parse_time("2024-09-01"),
    )
    assert (symbol["pricePrecision"], symbol["quantityPrecision"]) == (1, 1)


def test_a_recorded_description_is_served_as_it_is(recordings: Path) -> None:
    source = RecordedSource(recordings)
    real = json.loads((recordings / "rest_responses/20260703T051738Z_fapi-v1-exchangeInfo.json").read_text())
    assert source.symbols(Market.UM, 0)["ALGOUSDT"] in real["symbols"]
    assert set(source.symbols(Market.UM, 0)) == {"ALGOUSDT", "AVAXUSDT"}
    with pytest.raises(Refusal, match="Invalid symbol"):
        source.rows(query("um", "BTCUSDT", "1m"), FOREVER)


def test_wrong_data_is_refused_with_file_and_line(small: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        RecordedSource(small / "absent")
    other = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(ConfigError, match="holds no files"):
        RecordedSource(other)
    (other / "BTCUSDT-1m-2024-09.csv").write_text("1,2,3\n")
    with pytest.raises(ConfigError, match="spot or um"):
        RecordedSource(other)
    (small / "um" / "龙虾USDT-1m-2024-09-02.csv").write_text("1725148800000,1,2,3\n")
    with pytest.raises(ConfigError, match=r"2024-09-02.csv, line 1: not a bar of twelve fields"):
        RecordedSource(small).end_ms()
