"""Bars read from MySQL and the lake as one."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, Source, content_digest, sort_bars
from gapless.domain.window import Window
from gapless.pipeline.read import (
    iter_bars,
    join_stores,
    read_bars_everywhere,
    read_newest,
    read_opens_everywhere,
    stored_span,
)
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Draft, Scope, load_bars, put_archive_receipts
from tests.bars import bars
from tests.pipeline.conftest import Installation

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
AUTUMN = Window.of("2026-09-01", "2026-12-01")


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        yield opened


def into_mysql(rt: Runtime, table: pa.Table) -> None:
    """Through the loader, in a load of its own."""
    ts = table["ts"].cast(pa.int64()).to_pylist()
    digest = content_digest(table)
    series = zip(table["symbol"].to_pylist(), table["interval"].to_pylist(), strict=True)
    window = Window(min(ts), max(ts) + 1)
    scope = Scope.of(set(series))
    load_bars(rt.db, table, Draft(digest[:16], "binance", Market.UM, window, scope, complete=True, digest=digest))


def into_lake(rt: Runtime, table: pa.Table) -> None:
    put_archive_receipts(rt.db, rt.lake.write(table))


def test_each_bar_comes_once_in_canonical_order_whichever_store_holds_it(rt: Runtime) -> None:
    whole = pa.concat_tables([bars(ETH, "1h", "2026-09-28", 240), bars(BTC, "1h", "2026-09-28", 240)])
    into_lake(rt, whole.slice(0, 400))
    into_mysql(rt, whole.slice(100))
    found = read_bars_everywhere(rt, [BTC, ETH], [Interval.H1], AUTUMN)
    assert found.equals(sort_bars(whole))


def test_where_both_hold_a_bar_mysql_counts(rt: Runtime) -> None:
    hot = bars(BTC, "1d", "2026-10-01", 5, seed=1)
    cold = bars(BTC, "1d", "2026-09-29", 5, seed=2, source=Source.VISION)
    into_lake(rt, cold)
    into_mysql(rt, hot)
    found = read_bars_everywhere(rt, [BTC], [Interval.D1], AUTUMN)
    assert found.equals(pa.concat_tables([cold.slice(0, 2), hot]))


def test_a_long_series_comes_by_months_and_only_where_something_is_stored(rt: Runtime) -> None:
    into_lake(rt, bars(BTC, "1d", "2026-08-30", 4))
    into_mysql(rt, bars(BTC, "1d", "2026-10-31", 2))
    ever = Window(0, 253_402_300_800_000)
    months = list(iter_bars(rt, BTC, Interval.D1, ever))
    assert [month.num_rows for month in months] == [2, 2, 1, 1], "August to November, without an empty October"
    assert pa.concat_tables(months).equals(read_bars_everywhere(rt, [BTC], [Interval.D1], AUTUMN_AND_MORE))
    assert list(iter_bars(rt, ETH, Interval.D1, ever)) == []


AUTUMN_AND_MORE = Window.of("2026-08-01", "2026-12-01")


@pytest.mark.parametrize("limit", [1, 3, 5, 6, 100])
def test_the_newest_bars_reach_back_over_months_and_stores(rt: Runtime, limit: int) -> None:
    series = bars(BTC, "1d", "2026-09-28", 6)
    into_lake(rt, series.slice(0, 4))
    into_mysql(rt, series.slice(4))
    found = read_newest(rt, BTC, Interval.D1, limit, AUTUMN)
    assert found.equals(series.slice(max(0, 6 - limit)))


def test_open_times_are_told_by_symbol(rt: Runtime) -> None:
    into_lake(rt, bars(ETH, "1h", "2026-10-01", 3))
    into_mysql(rt, bars(ETH, "1h", "2026-10-01T02:00", 2))
    into_mysql(rt, bars(BTC, "1h", "2026-10-01", 1))
    found = read_opens_everywhere(rt, [BTC, ETH, "SOL/USDT:USDT"], Interval.H1, AUTUMN)
    first = Window.of("2026-10-01", "2026-10-02").start_ms
    hours = [first + n * 3_600_000 for n in range(4)]
    assert {symbol: opens.tolist() for symbol, opens in found.items()} == {BTC: hours[:1], ETH: hours}


def test_the_span_reaches_over_both_stores(rt: Runtime) -> None:
    assert stored_span(rt, BTC, Interval.H1) is None
    into_mysql(rt, bars(BTC, "1h", "2026-10-05T07:00", 2))
    assert stored_span(rt, BTC, Interval.H1) == Window.of("2026-10-05T07:00", "2026-10-05T09:00")
    into_lake(rt, bars(BTC, "1h", "2026-09-30T05:00", 1))
    assert stored_span(rt, BTC, Interval.H1) == Window.of("2026-09-30", "2026-10-05T09:00")


def test_joining_keeps_all_of_the_first_and_what_it_lacks_of_the_second() -> None:
    one, other = bars(BTC, "1h", "2026-10-01", 4, seed=1), bars(BTC, "1h", "2026-10-01T02:00", 4, seed=2)
    nothing = OHLCV.empty_table()
    assert join_stores(one, other).equals(pa.concat_tables([one, other.slice(2)]))
    assert join_stores(other, one).equals(pa.concat_tables([one.slice(0, 2), other]))
    assert join_stores(one, nothing).equals(one)
    assert join_stores(nothing, one).equals(one)
