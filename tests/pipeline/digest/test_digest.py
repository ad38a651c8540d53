"""`gapless digest`: the same rows have the same digests, wherever they lie and however they came."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import parse_intervals
from gapless.domain.schema import OHLCV, content_digest
from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.digest import DayDigest, DigestRequest, run_digest
from gapless.pipeline.digest import rows as digest_rows
from gapless.pipeline.runtime import Runtime
from tests.bars import bars
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC, ETH, SPOT = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT"
BORDER = ("2026-08-30", "2026-09-03")
DAYS = Window.of("2026-10-29", "2026-11-03")
"""Five days across a month's end."""


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        yield opened


def digest(rt: Runtime, window: Window = DAYS, **options: Any) -> list[DayDigest]:
    intervals = parse_intervals(options.pop("intervals", None))
    request = DigestRequest(start_ms=window.start_ms, end_ms=window.end_ms, intervals=intervals, **options)
    return [each for month in run_digest(rt, request).months for each in month]


def series() -> pa.Table:
    """Three series of five days; one that begins and ends within a day."""
    return pa.concat_tables(
        [
            bars(BTC, "15m", "2026-10-29", 480),
            bars(BTC, "1d", "2026-10-29", 5),
            bars(ETH, "15m", "2026-10-30T05:00", 250),
        ]
    )


def test_it_is_the_content_digest_of_each_series_and_day_in_order(rt: Runtime) -> None:
    into_mysql(rt, series())
    found = digest(rt)
    for each in found:
        day = Window.of(each.day, f"{each.day}T23:59:59.999")
        rows = [
            row
            for row in series().to_pylist()
            if (row["symbol"], row["interval"]) == (each.symbol, each.interval) and day.start <= row["ts"] <= day.end
        ]
        assert each.rows == len(rows)
        assert each.sha256 == content_digest(pa.Table.from_pylist(rows, OHLCV))
    assert [each.key for each in found] == sorted(
        (each.key for each in found), key=lambda key: (key[2][:7], key[0], ["15m", "1d"].index(key[1]), key[2])
    )
    assert (len(found), sum(each.rows for each in found)) == (5 + 5 + 3, series().num_rows)


def test_it_does_not_matter_which_store_holds_what(make_installation: Any, replica: ReplicaHandle) -> None:
    table = series()
    ways = {
        "mysql": (table, None),
        "lake": (None, table),
        "both": (table, table),
        "halves": (table.slice(0, 333), table.slice(300)),
        "every-other": (table.take(list(range(0, 735, 2))), table.take(list(range(1, 735, 2)))),
    }
    found = {}
    for name, (hot, cold) in ways.items():
        with make_installation(replica, name=name).open() as rt:
            if hot is not None:
                into_mysql(rt, hot)
            if cold is not None:
                into_lake(rt, cold)
            found[name] = digest(rt)
    assert all(each == found["mysql"] for each in found.values())
    assert len(found["mysql"]) == 13


def test_where_both_stores_hold_a_bar_mysql_s_counts(rt: Runtime) -> None:
    hot = bars(BTC, "1h", "2026-11-01", 24, seed=1)
    into_mysql(rt, hot.slice(0, 12))
    into_lake(rt, bars(BTC, "1h", "2026-11-01", 24, seed=2))
    (found,) = digest(rt)
    both = pa.concat_tables([hot.slice(0, 12), bars(BTC, "1h", "2026-11-01", 24, seed=2).slice(12)])
    assert found.sha256 == content_digest(both)


def test_hourly_runs_and_a_backfill_into_the_lake_leave_equal_digests(
    make_installation: Any, replica: ReplicaHandle, tmp_path: Path
) -> None:
    window = ("--start", "2026-11-15T08:00", "--end", "2026-11-15T12:00")
    hourly, history = make_installation(replica, name="hourly"), make_installation(replica, name="history")
    for hour in range(8, 12):
        # A window takes what completes in it: 4h and 1d bars that opened before are not of the window below.
        hourly.etl(Window.of(f"2026-11-15T{hour:02}:00", f"2026-11-15T{hour + 1:02}:00"), symbols=f"{BTC},{SPOT}")
    history.backfill(
        "2026-11-15T08:00", "2026-11-15T12:00", symbols=f"{BTC},{SPOT}", intervals="1m,5m,15m,1h,4h", into="lake"
    )
    status, told, _ = hourly.command("digest", *window)
    assert (status, {each["interval"] for each in told["digests"]}) == (0, {"1m", "5m", "15m", "1h", "4h"})
    there = history.command("digest", *window)[1]
    assert there == told
    file = tmp_path / "there.json"
    file.write_text(json.dumps(there))
    status, told, _ = hourly.command("digest", *window, "--compare", str(file))
    assert (status, told["different"], told["compared"]) == (0, [], 10)

    with hourly.db.engine.begin() as connection:  # one digit
        connection.exec_driver_sql(
            f"UPDATE ohlcv SET volume = volume + 0.00000001 WHERE symbol = '{BTC}' AND `interval` = '1m'"
            " AND ts = '2026-11-15 09:17:00'"
        )
    status, told, _ = hourly.command("digest", *window, "--compare", str(file))
    assert status == 1
    assert [(each["symbol"], each["interval"], each["day"]) for each in told["different"]] == [
        (BTC, "1m", "2026-11-15")
    ]


def test_whole_days_are_what_the_lake_s_receipts_say(installation: Installation) -> None:
    installation.backfill(*BORDER, symbols=f"{BTC},{SPOT}", intervals="1m,15m,4h")
    told = installation.rows("SELECT symbol, `interval`, CAST(day AS CHAR), `rows`, sha256 FROM archive_series")
    assert told
    with installation.open() as rt:
        found = digest(rt, Window.of(*BORDER))
        assert {(*each.key, each.rows, each.sha256) for each in found} >= set(told)
        assert digest(rt, Window.of(*BORDER), source="receipts") == found


def test_receipts_say_nothing_of_what_happened_to_the_file_and_rows_do(installation: Installation) -> None:
    with installation.open() as rt:
        into_lake(rt, bars(BTC, "1h", "2026-11-01", 48))
        before = digest(rt)
        rt.lake.remove(bars(BTC, "1h", "2026-11-01", 5))  # and the books were not told
        assert digest(rt, source="receipts") == before
        assert [each.rows for each in digest(rt)] == [19, 24]


def test_with_receipts_rows_are_read_of_days_that_are_cut_or_in_mysql_too(rt: Runtime) -> None:
    into_lake(rt, bars(BTC, "1h", "2026-10-29", 96))
    into_mysql(rt, bars(BTC, "1h", "2026-10-31", 1, seed=9))
    window = Window.of("2026-10-29T06:00", "2026-11-01T23:00")
    rows, receipts = digest(rt, window), digest(rt, window, source="receipts")
    assert receipts == rows
    assert [each.rows for each in rows] == [18, 24, 24, 23]


def test_a_window_digests_what_lies_in_it(rt: Runtime) -> None:
    table = bars(BTC, "15m", "2026-10-29", 480)
    into_lake(rt, table.slice(0, 300))
    into_mysql(rt, table.slice(200))
    found = digest(rt, Window.of("2026-10-31T23:00", "2026-11-01T01:00"))
    assert [(each.day, each.rows) for each in found] == [("2026-10-31", 4), ("2026-11-01", 4)]
    assert found[0].sha256 == content_digest(table.slice(3 * 96 - 4, 4))


def test_small_units_give_the_same_as_large_ones(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    into_lake(rt, series().slice(0, 600))
    into_mysql(rt, series().slice(100))
    large = digest(rt)
    monkeypatch.setattr(digest_rows, "_UNIT_ROWS", 1)
    assert digest(rt) == large


def test_cold_months_by_bucket_are_read_like_days(installation: Installation) -> None:
    installation.backfill("2026-06-01", "2026-07-01", symbols=f"{BTC},{ETH},{SPOT}", intervals="5m,1h")
    told = installation.rows("SELECT symbol, `interval`, CAST(day AS CHAR), `rows`, sha256 FROM archive_series")
    with installation.open() as rt:
        found = digest(rt, Window.of("2026-05-01", "2026-08-01"))
    assert {(*each.key, each.rows, each.sha256) for each in found} == set(told)
    assert len(found) == 3 * 2 * 30


@pytest.mark.parametrize("dataset", [Dataset.FUNDING, Dataset.METRICS])
def test_other_datasets_have_digests_by_the_canonical_text_too(
    make_installation: Any, replica: ReplicaHandle, dataset: Dataset
) -> None:
    found = {}
    window = Window.of("2026-11-10", "2026-11-13")
    for into in ("mysql", "lake"):
        installation = make_installation(replica, name=into)
        installation.backfill("2026-11-10", "2026-11-13", symbols=f"{BTC},{ETH}", dataset=dataset, into=into)
        with installation.open() as rt:
            found[into] = digest(rt, window, dataset=dataset)
            if into == "lake":
                assert digest(rt, window, dataset=dataset, source="receipts") == found[into]
                rows = rt.lake.read_rows(dataset, window, [BTC])
    assert found["mysql"] == found["lake"]
    assert len(found["lake"]) == 6
    shape = SHAPES[dataset]
    lines = []
    for row in rows.to_pylist():
        if row["ts"].day == 10:
            values = [row[name] for name in (*shape.key, *shape.values)]
            lines.append(",".join(text(value, shape.schema.field(name).type) for name, value in zip(
                (*shape.key, *shape.values), values, strict=True)) + "\n")  # fmt: skip
    first = found["lake"][0]
    assert (first.symbol, first.interval) == (BTC, "Regular" if dataset is Dataset.FUNDING else "")
    assert first.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def text(value: Any, kind: pa.DataType) -> str:
    if value is None:
        return ""
    if pa.types.is_timestamp(kind):
        return str(int(value.timestamp() * 1000))
    return f"{value:.{kind.scale}f}" if isinstance(value, Decimal) else str(value)


def test_metrics_of_spot_are_a_mistake(rt: Runtime) -> None:
    from gapless.domain.instrument import Market

    with pytest.raises(ConfigError, match="perpetuals alone"):
        digest(rt, dataset=Dataset.METRICS, market=Market.SPOT)
