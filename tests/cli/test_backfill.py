"""`gapless backfill` as a person meets it; the engine is replaced by one that notes what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gapless.cli import main
from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import ExchangeError
from gapless.pipeline.backfill import BackfillPlan, BackfillReport, BackfillRequest, RejectedObject, SeriesCoverage

AUTUMN = ("--start", "2026-08-01", "--end", "2026-10-01")
BTC = "BTC/USDT:USDT"
ROW = SeriesCoverage(BTC, "1m", 87_840, 87_780, 60, "60: the exchange has none")
GOOD = BackfillReport(rows_loaded=87_780, bars_expected=87_840, bars_present=87_780, gap_bars=60, unfillable=60,
                      objects=2, series=(ROW,))  # fmt: skip


class Engine:
    """Stands for gapless.pipeline.backfill."""

    def __init__(self) -> None:
        self.report = GOOD
        self.plan = BackfillPlan(series=1, months=2, months_to_do=2, bars_expected=87_840, objects=2, rows=87_840)
        self.asked: list[BackfillRequest] = []
        self.trouble: BaseException | None = None
        self.max_wait_s = 0.0

    def run_backfill(self, rt: Any, request: BackfillRequest, watch: Any) -> BackfillReport:
        self.asked.append(request)
        watch.plan(2, 87_840)
        watch.object_done("BTCUSDT-1m-2026-08.zip", 2_000_000)
        if self.trouble:
            raise self.trouble
        return self.report

    def plan_backfill(self, rt: Any, request: BackfillRequest) -> BackfillPlan:
        self.asked.append(request)
        return self.plan


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from gapless.pipeline import runtime
    from gapless.pipeline.backfill import run
    from gapless.storage.mysql import origin

    standing = Engine()

    @contextmanager
    def opened(settings: Settings, *, max_wait_s: float, say: object) -> Iterator[SimpleNamespace]:
        standing.max_wait_s = max_wait_s
        yield SimpleNamespace(db=None)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(run, "run_backfill", standing.run_backfill)
    monkeypatch.setattr(run, "plan_backfill", standing.plan_backfill)
    monkeypatch.setattr(origin, "read_origin", lambda db: "replica:7")
    monkeypatch.setenv("COLUMNS", "160")
    return standing


def test_the_arguments_become_the_request(engine: Engine) -> None:
    options = ("--market", "um", "--symbols", "BTCUSDT,ETHUSDT", "--intervals", "1h,1m", "--source", "vision",
               "--into", "lake", "--workers", "3", "--recheck", "all", "--max-wait", "2m")  # fmt: skip
    assert main(["backfill", "ohlcv", *AUTUMN, *options]) == 0
    window = Window.of("2026-08-01", "2026-10-01")
    assert engine.asked == [
        BackfillRequest(
            dataset=Dataset.OHLCV, market=Market.UM, symbols=("BTCUSDT", "ETHUSDT"),
            intervals=(Interval.M1, Interval.H1), start_ms=window.start_ms, end_ms=window.end_ms,
            source="vision", into="lake", workers=3, recheck="all",
        )
    ]  # fmt: skip
    assert engine.max_wait_s == 120


def test_what_is_not_said_is_the_watchlist_in_all_intervals_wherever_it_belongs(engine: Engine) -> None:
    assert main(["backfill", "ohlcv", *AUTUMN]) == 0
    (asked,) = engine.asked
    assert (asked.market, asked.symbols, asked.intervals) == (None, (), ALL_INTERVALS)
    assert (asked.source, asked.into, asked.workers, asked.recheck) == ("auto", "auto", 0, "recent")
    assert engine.max_wait_s == 900


@pytest.mark.parametrize(("word", "dataset"), [("funding", Dataset.FUNDING), ("metrics", Dataset.METRICS)])
def test_funding_and_metrics_are_of_perpetuals(engine: Engine, word: str, dataset: Dataset) -> None:
    assert main(["backfill", word, *AUTUMN, "--symbols", "BTCUSDT"]) == 0
    (asked,) = engine.asked
    assert (asked.dataset, asked.market) == (dataset, Market.UM)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("funding", *AUTUMN, "--intervals", "1h"), "funding has no intervals: leave --intervals out"),
        (("metrics", *AUTUMN, "--market", "spot"), "metrics exists of perpetuals only"),
        (("ohlcv", "--start", "2026-10-01", "--end", "2026-08-01"), "empty window"),
        (("ohlcv", "--start", "soon", "--end", "2026-08-01"), "not a time: 'soon'"),
        (("ohlcv", *AUTUMN, "--intervals", "3m"), "unknown interval 3m"),
        (("ohlcv", *AUTUMN, "--symbols", ","), "--symbols is empty"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    engine: Engine, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert main(["backfill", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert engine.asked == []


@pytest.mark.parametrize(
    "arguments",
    [("ohlcv",), ("trades", *AUTUMN), ("ohlcv", *AUTUMN, "--workers", "0"), ("ohlcv", *AUTUMN, "--into", "disk")],
    ids=str,
)
def test_what_argparse_refuses_is_status_2(engine: Engine, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["backfill", *arguments])
    assert stop.value.code == 2


def test_json_is_one_object_with_the_contracts_fields_and_progress_goes_elsewhere(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backfill", "ohlcv", *AUTUMN, "--json"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert {"rows_loaded", "bars_expected", "bars_present", "gap_bars", "unfillable", "objects", "rejected_objects",
            "requests", "weight_used", "seconds", "nothing_to_do", "errors"} <= set(told)  # fmt: skip
    assert told["series"] == [
        {"symbol": BTC, "interval": "1m", "expected": 87_840, "present": 87_780, "unfillable": 60, "percent": 100.0,
         "why": "60: the exchange has none"}
    ]  # fmt: skip
    assert "to do: 2 objects, about 87,840 rows" in shown.err


def test_a_person_sees_totals_refused_files_and_coverage_and_that_it_is_generated(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = RejectedObject("data/futures/um/monthly/klines/X.zip", "checksum mismatch", "taken from daily files")
    engine.report = BackfillReport(objects=1, rejected_objects=1, rejected=(refused,), series=(ROW,))
    assert main(["backfill", "ohlcv", *AUTUMN]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ohlcv watchlist ")
    assert "(generated data, not from an exchange)" in out
    assert "refused: data/futures/um/monthly/klines/X.zip: checksum mismatch; taken from daily files" in out
    assert "87,780" in out
    assert "60: the exchange has none" in out


def test_of_many_series_the_worst_twenty_are_shown_and_all_are_counted(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [SeriesCoverage(f"S{n:02}/USDT", "1d", 100, 100 - (n % 7 == 0) * n, 0, "x") for n in range(60)]
    engine.report = BackfillReport(series=tuple(rows), gap_bars=252, bars_expected=6000, bars_present=5748)
    assert main(["backfill", "ohlcv", *AUTUMN]) == 1
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "/USDT" in line and "│" in line]
    assert len(lines) == 20
    assert "S56/USDT" in lines[0]
    assert "40 more, none worse than these" in out
    assert "52 of 60 series are complete" in out
    assert "95.8" in out
    main(["backfill", "ohlcv", *AUTUMN, "--json"])
    assert len(json.loads(capsys.readouterr().out)["series"]) == 60


@pytest.mark.parametrize(
    "report",
    [
        BackfillReport(errors=(Failure(BTC, "1m", "2026-08", "bad_symbol", "not listed"),)),
        BackfillReport(bars_expected=10, bars_present=8, gap_bars=2, unfillable=1),
    ],
)
def test_anything_left_failed_is_status_1_and_json_all_the_same(
    engine: Engine, capsys: pytest.CaptureFixture[str], report: BackfillReport
) -> None:
    engine.report = report
    assert main(["backfill", "ohlcv", *AUTUMN, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["gap_bars"] == report.gap_bars


def test_a_dry_run_prints_the_summary_and_runs_nothing(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfill", "ohlcv", *AUTUMN, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("dry run: ohlcv watchlist ")
    for words in ("bars expected", "objects to fetch", "rows, about", "request weight, about", "minutes, about"):
        assert words in out
    assert main(["backfill", "ohlcv", *AUTUMN, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert told["nothing_to_do"] is False
    assert {"bars_expected", "bars_present", "objects", "rows", "minutes", "weight"} <= set(told)


def test_a_dry_run_for_names_that_nobody_knows_is_status_1(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.plan = BackfillPlan(errors=(Failure("NOPE/USDT", "", "", "bad_symbol", "not listed"),))
    assert main(["backfill", "ohlcv", *AUTUMN, "--dry-run"]) == 1
    assert "failed: NOPE/USDT: not listed" in capsys.readouterr().err


def test_ctrl_c_is_status_130_and_says_how_to_go_on(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.trouble = KeyboardInterrupt()
    assert main(["backfill", "ohlcv", *AUTUMN]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; run the same command again to go on"


def test_an_exchange_out_of_reach_is_one_line_and_status_1(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.trouble = ExchangeError("binance um is out of reach")
    assert main(["backfill", "ohlcv", *AUTUMN, "--json"]) == 1
    shown = capsys.readouterr()
    assert "gapless: binance um is out of reach" in shown.err
    assert json.loads(shown.out)["errors"][0]["message"] == "binance um is out of reach"
