"""What a scheduled run takes: its own hour when that is over, and what the 48 hours before it lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.domain.receipts import Batch
from gapless.domain.window import HOUR_MS, Window
from gapless.errors import ConfigError, NotYet
from gapless.pipeline.etl import archive_s3, extract_raw, load_mysql, transform_normalise
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.plan import plan_hour
from gapless.pipeline.watchlist import read_watchlist
from tests.pipeline.conftest import NOON, Installation, MakeInstallation


@pytest.fixture
def watched(make_installation: MakeInstallation, replica: object, tmp_path: Path) -> Installation:
    """An installation with a small watchlist of its own."""
    path = tmp_path / "symbols.yaml"
    path.write_text("markets: {um: [BTC/USDT:USDT, ETH/USDT:USDT]}\nintervals: [1m, 1h]\n")
    installation: Installation = make_installation(replica, symbols_file=path)
    return installation


def watch(installation: Installation, *symbols: str) -> None:
    installation.settings.symbols_file.write_text(f"markets: {{um: [{', '.join(symbols)}]}}\nintervals: [1m, 1h]\n")


def plan(installation: Installation, window: Window = NOON, *, catch_up_hours: int = 48) -> list[Batch]:
    with installation.open() as rt:
        return plan_hour(rt, window, catch_up_hours=catch_up_hours)


def take(installation: Installation, batches: list[Batch], *, archive: bool = True) -> None:
    with installation.open() as rt:
        loads = [load_mysql(rt, transform_normalise(rt, extract_raw(rt, batch))) for batch in batches]
        if archive:
            archive_s3(rt, loads)


def planned(batches: list[Batch]) -> list[tuple[list[str], float, float]]:
    """Symbols of each batch, and its window in hours before noon."""
    hours = [((b.start_ms - NOON.end_ms) / HOUR_MS, (b.end_ms - NOON.end_ms) / HOUR_MS) for b in batches]
    return [([name.split("/")[0] for name, _ in b.symbols], *span) for b, span in zip(batches, hours, strict=True)]


def test_a_first_run_takes_two_days_and_the_next_only_its_hour(watched: Installation) -> None:
    before = Window(NOON.start_ms - HOUR_MS, NOON.start_ms)
    first = plan(watched, before)
    assert planned(first) == [(["BTC", "ETH"], -50, -1)]
    take(watched, first)
    assert planned(plan(watched)) == [(["BTC", "ETH"], -1, 0)]
    take(watched, plan(watched))
    assert plan(watched) == []
    assert len(watched.bars()) == 2 * (50 * 60 + 50)


def test_a_load_that_was_never_archived_is_taken_again(watched: Installation) -> None:
    take(watched, plan(watched), archive=False)
    assert planned(plan(watched)) == [(["BTC", "ETH"], -49, 0)]


def test_a_series_that_failed_is_taken_again_alone(watched: Installation) -> None:
    watched.exchange.faults({"match": {"symbol": "ETHUSDT", "interval": "1h"}, "action": {"error": -1100}})
    take(watched, plan(watched))
    watched.exchange.faults()
    assert planned(plan(watched)) == [(["ETH"], -49, 0)]


def test_a_new_name_on_the_watchlist_is_caught_up_alone(watched: Installation) -> None:
    take(watched, plan(watched))
    watch(watched, "BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT")
    assert planned(plan(watched)) == [(["币安人生"], -49, 0)]


def test_an_unfinished_hour_does_not_count_as_taken(watched: Installation) -> None:
    take(watched, plan(watched))
    now = Window(NOON.end_ms, NOON.end_ms + HOUR_MS)  # it is 12:30:30 there
    watched.etl(now, symbols="BTC/USDT:USDT,ETH/USDT:USDT", intervals="1m,1h")
    watched.exchange.advance(HOUR_MS / 1000)
    assert planned(plan(watched, now)) == [(["BTC", "ETH"], 0, 1)]


def test_a_run_with_a_date_of_its_own_takes_exactly_its_window(watched: Installation) -> None:
    take(watched, plan(watched))
    assert planned(plan(watched, catch_up_hours=0)) == [(["BTC", "ETH"], -1, 0)]


def test_an_hour_is_planned_only_15_s_after_its_end_by_the_exchange_s_clock(watched: Installation) -> None:
    watched.exchange.set_clock("2026-11-15T12:00:10")
    with pytest.raises(NotYet, match="not over") as early:
        plan(watched)
    assert 4.0 < early.value.retry_after_s <= 5.0
    watched.exchange.set_clock("2026-11-15T12:00:15")
    assert plan(watched)


def test_a_host_clock_that_runs_ahead_of_the_exchange_waits_for_it(watched: Installation) -> None:
    # The host fires at its 12:00 while the exchange shows 11:55.
    watched.exchange.set_clock("2026-11-15T11:55:00")
    with pytest.raises(NotYet) as early:
        plan(watched)
    assert early.value.retry_after_s == pytest.approx(315, abs=1)


def test_an_unknown_name_on_the_watchlist_is_planned_and_reported_by_the_exchange(watched: Installation) -> None:
    watch(watched, "BTC/USDT:USDT", "NOSUCH/USDT:USDT")
    (batch,) = plan(watched, catch_up_hours=0)
    with watched.open() as rt:
        raw = extract_raw(rt, batch)
    assert {(failure.symbol, failure.kind) for failure in raw.failures} == {("NOSUCH/USDT:USDT", "bad_symbol")}


def test_all_of_a_market_is_every_perpetual_alive_in_the_window(watched: Installation) -> None:
    watched.settings.symbols_file.write_text("markets: {um: 'all:USDT'}\nintervals: all\n")
    symbols = {name for batch in plan(watched) for name, _ in batch.symbols}
    assert {"BTC/USDT:USDT", "币安人生/USDT:USDT", "NOVA/USDT:USDT"} <= symbols
    assert "OMG/USDT:USDT" not in symbols  # settled long before
    old = Window.of("2025-01-31T08:00", "2025-01-31T09:00")
    with watched.open() as rt:
        then = {name for batch in plan_hour(rt, old, catch_up_hours=0) for name, _ in batch.symbols}
    assert "OMG/USDT:USDT" in then
    assert "NOVA/USDT:USDT" not in then


def test_instruments_are_recorded_with_lives_multipliers_and_origin(watched: Installation) -> None:
    with watched.open() as rt:
        receipt = refresh_instruments(rt)
    assert receipt.origin == "replica:7"
    assert receipt.listed["um"] > receipt.trading["um"] > 5
    rows = dict(watched.rows("SELECT symbol, contract_multiplier FROM instrument WHERE market = 'um'"))
    assert rows["1000PEPE/USDT:USDT"] == 1000
    assert rows["币安人生/USDT:USDT"] == 1
    ((listed, delisted),) = watched.rows(
        "SELECT listed_at, delisted_at FROM instrument_life WHERE symbol = 'OMG/USDT:USDT'"
    )
    assert listed < delisted
    assert f"{delisted:%Y-%m-%d %H}" == "2025-01-31 09"
    assert watched.rows("SELECT origin FROM installation") == [("replica:7",)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs `markets:`"),
        ("markets: {}", "needs `markets:`"),
        ("markets: {cm: all}", "unknown market 'cm'"),
        ("markets: {um: []}", "markets.um"),
        ("markets: {um: [1]}", "markets.um"),
        ("markets: {um: all}\nintervals: 2m", "unknown interval 2m"),
        ("markets: {um: all}\nsymbols: all", "unknown key symbols"),
        ("markets: [", "not YAML"),
    ],
)
def test_a_wrong_watchlist_is_one_line_with_file_and_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "symbols.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        read_watchlist(path)
    assert says in str(wrong.value)
    assert str(path) in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_the_shipped_watchlist_holds_about_ten_instruments_of_both_markets_in_all_intervals() -> None:
    watchlist = read_watchlist(Path(__file__).resolve().parents[2] / "include" / "symbols.yaml")
    assert {str(market): len(spec.split(",")) for market, spec in watchlist.symbols.items()} == {"spot": 5, "um": 5}
    assert len(watchlist.intervals) == 6
