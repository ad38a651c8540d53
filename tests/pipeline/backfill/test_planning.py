"""What a backfill says beforehand: the dry run, the room it needs, the batches, and who is among `all`."""

from __future__ import annotations

import shutil
from collections import defaultdict
from typing import Any, NamedTuple

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import month_start, parse_time
from gapless.errors import ConfigError, OriginMismatch, StorageError
from gapless.pipeline.backfill import BackfillRequest, cut_batches, plan_backfill
from gapless.storage.lake.layout import bucket_of
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation


def request(start: str, end: str, symbols: str = "BTC/USDT:USDT", **options: Any) -> BackfillRequest:
    intervals = options.pop("intervals", (Interval.M1,))
    return BackfillRequest(
        symbols=tuple(symbols.split(",")), start_ms=parse_time(start), end_ms=parse_time(end), intervals=intervals,
        **options,
    )  # fmt: skip


def test_a_dry_run_counts_what_is_asked_for_what_is_there_and_what_it_will_cost(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill("2026-07-01", "2026-08-01", intervals="1h")
    replica.reset_stats()
    with installation.open() as rt:
        plan = plan_backfill(rt, request("2026-07-01", "2026-11-15T12:00", intervals=(Interval.H1,)))
    hours = (31 + 31 + 30 + 31 + 14) * 24 + 12
    assert (plan.series, plan.months, plan.months_to_do) == (1, 5, 4)
    assert (plan.bars_expected, plan.bars_present) == (hours, 31 * 24)
    assert plan.rows == hours - 31 * 24
    assert (plan.into_lake, plan.into_mysql) == (1, 3)
    assert plan.objects >= 3
    assert plan.weight > 0
    assert plan.minutes >= 0
    assert replica.stats()["vision"]["requests_total"] == 0
    assert set(replica.stats()["um"]["requests"]) <= {"time", "exchangeInfo"}


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_fetched(
    installation: Installation, replica: ReplicaHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10_000, 10_000))
    with pytest.raises(StorageError, match="not enough room"):
        installation.backfill("2026-07-01", "2026-08-01")
    assert replica.stats()["vision"]["requests_total"] == 0


def test_batches_hold_whole_buckets_of_whole_months_and_everything_once(installation: Installation) -> None:
    asked = request("2026-03-01", "2026-07-01", "all", market=Market.UM, intervals=(Interval.M1, Interval.H1))
    with installation.open() as rt:
        batches = cut_batches(rt, asked, at_most=12)
        names = {series.symbol for series in plan_survey(rt, asked)}
    assert 1 < len(batches) <= 12
    seen: dict[tuple[str, str, int], int] = defaultdict(int)
    objects: dict[tuple[str, int | None, int], set[int]] = defaultdict(set)
    for number, batch in enumerate(batches):
        for month in batch.window.split_months():
            at = month_start(month.start_ms)
            for interval in batch.intervals:
                for symbol in batch.symbols:
                    seen[symbol, interval, at] += 1
                    bucket = bucket_of(symbol) if interval is Interval.M1 else None
                    objects[interval, bucket, at].add(number)
    assert set(seen.values()) == {1}
    assert {symbol for symbol, _, _ in seen} == names
    assert len(seen) == len(names) * 2 * 4
    assert all(len(writers) == 1 for writers in objects.values()), "a lake object would be written by two batches"


def plan_survey(rt: Any, asked: BackfillRequest) -> Any:
    from gapless.pipeline.backfill.survey import survey

    return survey(rt, asked).series


def test_all_holds_the_dead_that_only_the_archive_still_knows(
    make_installation: MakeInstallation, replica: ReplicaHandle
) -> None:
    one = make_installation(replica, binance_vision_list_url=replica.vision_list)
    report = one.backfill("2024-06-10", "2024-06-20", symbols="all", market=Market.SPOT, intervals="4h", into="lake")
    assert report.whole, (report.errors, [s for s in report.series if s.missing])
    waves = next(each for each in report.series if each.symbol == "WAVES/USDT")
    assert waves.present == waves.expected - waves.unfillable
    assert waves.expected == 7 * 6 + 1
    known = one.rows("SELECT symbol, delisted_at FROM instrument_life WHERE symbol = 'WAVES/USDT'")
    assert len(known) == 1
    again = one.backfill("2024-06-10", "2024-06-20", symbols="all", market=Market.SPOT, intervals="4h", into="lake")
    assert again.nothing_to_do


def test_a_dataset_of_perpetuals_refuses_the_spot_market(installation: Installation) -> None:
    with pytest.raises(ConfigError, match="perpetuals"):
        installation.backfill("2026-01-01", "2026-02-01", dataset=Dataset.FUNDING, market=Market.SPOT)


def test_a_generated_market_and_the_real_archive_are_never_mixed(
    make_installation: MakeInstallation, replica: ReplicaHandle
) -> None:
    one = make_installation(replica, binance_vision_url="https://data.binance.vision")
    with pytest.raises(OriginMismatch, match="GAPLESS_BINANCE_VISION_URL"):
        one.backfill("2026-07-01", "2026-08-01", intervals="1d")
    report = one.backfill("2026-07-01", "2026-08-01", intervals="1d", source="rest")
    assert report.whole
