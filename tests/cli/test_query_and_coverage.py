"""`gapless query` and `gapless coverage` on real stores: forms, exact digits, what is said when nothing is there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gapless import cli
from gapless.domain.schema import OHLCV_VALUES
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.runtime import Runtime
from tests.bars import bars
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC = "BTC/USDT:USDT"
SERIES = bars(BTC, "1d", "2026-09-20", 40)
Gapless = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        refresh_instruments(opened)
        into_lake(opened, SERIES.slice(0, 25))
        into_mysql(opened, SERIES.slice(20))
        yield opened


@pytest.fixture
def gapless(rt: Runtime, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Gapless:
    """A command in this process on the installation of `rt`: exit status, standard output, standard error."""
    from gapless import config

    monkeypatch.setattr(config, "settings", lambda: rt.settings)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: str) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        status = cli.main(arguments)
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


def exact(row: int) -> dict[str, Any]:
    values = SERIES.slice(row, 1).to_pylist()[0]
    return {name: str(values[name]) if name == "trades" else f"{values[name]:.8f}" for name in OHLCV_VALUES}


def test_json_is_one_object_whose_prices_are_exact_texts(gapless: Gapless) -> None:
    status, out, _ = gapless("query", "ohlcv", BTC, "1d", "--format", "json")
    told = json.loads(out)
    assert status == 0
    assert (told["symbol"], told["interval"], len(told["rows"])) == (BTC, "1d", 40)
    assert told["rows"][0]["ts"] == "2026-09-20T00:00:00Z"
    for number, row in enumerate(told["rows"]):
        assert {name: str(row[name]) for name in OHLCV_VALUES} == exact(number)
        assert isinstance(row["trades"], int)
    assert gapless("query", "ohlcv", BTC, "1d", "--json")[1] == out


def test_csv_has_a_header_and_the_same_digits(gapless: Gapless) -> None:
    _, out, _ = gapless("query", "ohlcv", "BTCUSDT", "1d", "--market", "um", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 40
    assert {name: rows[7][name] for name in OHLCV_VALUES} == exact(7)
    assert (rows[7]["symbol"], rows[7]["interval"], rows[7]["ts"]) == (BTC, "1d", "2026-09-27T00:00:00Z")


def test_parquet_holds_the_bars_as_they_are(gapless: Gapless, tmp_path: Path) -> None:
    file = tmp_path / "btc.parquet"
    status, out, _ = gapless("query", "ohlcv", BTC, "1d", "--format", "parquet", "--output", str(file))
    assert (status, out) == (0, "")
    assert pq.read_table(file).equals(SERIES)
    assert list(tmp_path.glob(".*")) == []


def test_a_window_is_open_times_its_end_left_out_and_whole(gapless: Gapless) -> None:
    _, out, _ = gapless("query", "ohlcv", BTC, "1d", "--start", "2026-09-29", "--end", "2026-10-02", "--json")
    assert [row["ts"][:10] for row in json.loads(out)["rows"]] == ["2026-09-29", "2026-09-30", "2026-10-01"]


def test_a_limit_means_the_newest_oldest_first(gapless: Gapless) -> None:
    _, out, _ = gapless("query", "ohlcv", BTC, "1d", "--limit", "2", "--json")
    assert [row["ts"][:10] for row in json.loads(out)["rows"]] == ["2026-10-28", "2026-10-29"]
    _, out, _ = gapless("query", "ohlcv", BTC, "1d", "--limit", "1", "--end", "2026-10-01", "--json")
    assert [row["ts"][:10] for row in json.loads(out)["rows"]] == ["2026-09-30"]


def test_an_open_window_is_the_newest_five_hundred_and_a_closed_one_has_no_limit(rt: Runtime, gapless: Gapless) -> None:
    into_lake(rt, bars(BTC, "1h", "2026-09-01", 600))
    _, out, _ = gapless("query", "ohlcv", BTC, "1h", "--json")
    assert len(json.loads(out)["rows"]) == 500
    _, out, _ = gapless("query", "ohlcv", BTC, "1h", "--start", "2020-01-01", "--end", "2026-11-01", "--json")
    assert len(json.loads(out)["rows"]) == 600


def test_a_table_is_for_people_and_as_exact(gapless: Gapless) -> None:
    _, out, _ = gapless("query", "ohlcv", BTC, "1d", "--limit", "3")
    header, *lines = out.splitlines()
    assert header.split() == ["ts", *OHLCV_VALUES]
    assert len(lines) == 3
    values = dict(zip(OHLCV_VALUES, lines[-1].split()[1:], strict=True))
    assert {name: Decimal(value) for name, value in values.items()} == {
        name: Decimal(value) for name, value in exact(39).items()
    }


def test_nothing_stored_is_said_and_no_failure(gapless: Gapless) -> None:
    status, out, err = gapless("query", "ohlcv", "ETH/USDT:USDT", "1m", "--json")
    assert (status, json.loads(out)["rows"]) == (0, [])
    assert "no bar of ETH/USDT:USDT 1m is stored" in err


def test_a_symbol_that_nobody_knows_is_status_1_and_an_error_in_json(gapless: Gapless) -> None:
    status, out, err = gapless("query", "ohlcv", "NOPE/USDT", "1m", "--json")
    assert status == 1
    assert json.loads(out)["errors"][0]["kind"] == "not_found"
    assert "NOPE/USDT: no instrument of that name is on record" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("BTCUSDT", "1m"), "add --market spot or um"),
        (("BTC/USDT,ETH/USDT", "1m"), "one symbol at a time"),
        ((BTC, "1m,5m"), "one interval at a time"),
        ((BTC, "2m"), "unknown interval 2m"),
        ((BTC, "1m", "--start", "2026-01-02", "--end", "2026-01-01"), "empty window"),
        ((BTC, "1m", "--json", "--format", "csv"), "contradict each other"),
    ],
)
def test_wrong_usage_is_status_2(gapless: Gapless, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = gapless("query", "ohlcv", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_an_output_that_cannot_be_written_is_one_line(gapless: Gapless, tmp_path: Path) -> None:
    status, _, err = gapless("query", "ohlcv", BTC, "1d", "--output", str(tmp_path / "absent" / "x.csv"))
    assert status == 1
    assert "absent" in err
    assert "Traceback" not in err


def test_coverage_tells_of_each_series_in_json(gapless: Gapless) -> None:
    window = ("--start", "2026-09-19", "--end", "2026-11-01")
    status, out, _ = gapless("coverage", "--symbols", BTC, "--intervals", "1d", *window, "--json")
    told = json.loads(out)
    assert status == 0
    (row,) = told["series"]
    assert (row["symbol"], row["interval"]) == (BTC, "1d")
    assert (row["expected"], row["present"], row["unfillable"], row["outside"]) == (43, 40, 0, 0)
    assert row["percent"] == 93.023255
    assert [(gap["start"], gap["bars"], gap["state"]) for gap in row["gaps"]] == [
        ("2026-09-19T00:00:00Z", 1, "open"),
        ("2026-10-30T00:00:00Z", 2, "open"),
    ]


def test_coverage_for_people_names_the_moment_and_the_causes(gapless: Gapless) -> None:
    status, out, _ = gapless("coverage", "--symbols", BTC, "--intervals", "1d", "--start", "2026-09-20")
    assert status == 0
    assert out.startswith("bars that had closed by 2026-11-15T12:30:30")
    assert "coverage of 1 series" in out
    assert "open: not stored" in out


def test_coverage_of_a_name_that_nobody_knows_is_status_1(gapless: Gapless) -> None:
    status, out, _ = gapless("coverage", "--symbols", f"{BTC},NOPE/USDT:USDT", "--intervals", "1d", "--json")
    told = json.loads(out)
    assert status == 1
    assert [row["symbol"] for row in told["series"]] == [BTC]
    assert told["errors"][0]["symbol"] == "NOPE/USDT:USDT"


def test_coverage_needs_its_window_the_right_way_round(gapless: Gapless) -> None:
    assert gapless("coverage", "--start", "2026-11-01", "--end", "2026-10-01")[0] == 2


def test_coverage_by_month_counts_against_what_may_be_missing(gapless: Gapless) -> None:
    window = ("--start", "2026-09-20", "--end", "2026-11-01")
    status, out, _ = gapless("coverage", "--symbols", BTC, "--intervals", "1d", *window, "--json")
    september, october = json.loads(out)["months"]
    assert status == 0
    assert (september["market"], september["interval"], september["month"]) == ("um", "1d", "2026-09")
    assert (september["expected"], september["present"], september["missing"]) == (11, 11, 0)
    assert (september["missing_percent"], september["within"]) == (0.0, True)
    assert (october["expected"], october["present"], october["unfillable"], october["missing"]) == (31, 29, 0, 2)
    assert (october["missing_percent"], october["percent"], october["within"]) == (6.451613, 93.548387, False)
    status, out, _ = gapless("coverage", "--symbols", BTC, "--intervals", "1d", *window, "--monthly")
    assert status == 0, "a picture, not a check"
    assert "0.05 % may be missing" in out
    assert "1 of 2 months are within it" in out
    assert next(line for line in out.splitlines() if "2026-10" in line).split()[-2:] == ["NO", "│"]


@pytest.mark.parametrize("name", ["days.svg", "days.png"])
def test_coverage_draws_a_picture_beside_what_it_prints(gapless: Gapless, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    arguments = ("coverage", "--symbols", BTC, "--intervals", "1d", "--end", "2026-11-01", "--picture", str(file))
    status, out, err = gapless(*arguments, "--json")
    assert status == 0
    assert json.loads(out)["series"][0]["symbol"] == BTC
    assert f"drawn into {file}" in err
    first = file.read_bytes()
    assert gapless(*arguments)[0] == 0
    assert file.read_bytes() == first
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [name]


def test_a_picture_of_nothing_is_refused_and_leaves_no_file(gapless: Gapless, tmp_path: Path) -> None:
    window = ("--start", "2016-01-01", "--end", "2016-02-01")
    status, out, err = gapless("coverage", "--symbols", BTC, *window, "--picture", str(tmp_path / "x.svg"))
    assert (status, out) == (1, "")
    assert "nothing to draw" in err
    assert [each for each in tmp_path.iterdir() if each.is_file()] == []


def test_a_picture_of_no_known_form_is_wrong_usage(gapless: Gapless, tmp_path: Path) -> None:
    status, out, err = gapless("coverage", "--picture", str(tmp_path / "x.jpg"))
    assert (status, out) == (2, "")
    assert "ends in .png or .svg" in err
