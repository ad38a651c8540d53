"""Rows read from MySQL and the lake as one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, Source, sort_bars
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.holes import holes_of
from gapless.pipeline.read import (
    iter_bars,
    iter_everywhere,
    join_stores,
    read_everywhere,
    read_newest,
    read_opens_everywhere,
    stored_span,
)
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Draft, Scope, load_rows, put_archive_receipts
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.leaving import Leaving, exchange_out
from gapless.storage.mysql.partitions import Month
from tests.bars import bars
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.storage.lake.rows import funding, metrics

BTC, ETH, COIN = "BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT"
AUTUMN = Window.of("2026-09-01", "2026-12-01")


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        yield opened


def into_mysql(rt: Runtime, table: pa.Table, dataset: Dataset = Dataset.OHLCV) -> None:
    """Through the loader, in a load of its own."""
    shape = SHAPES[dataset]
    ts = table["ts"].cast(pa.int64()).to_pylist()
    digest = digests(table.sort_by([(name, "ascending") for name in shape.key]), shape)[0]
    bar_series = table.select(["symbol", "interval"]).to_pylist() if dataset is Dataset.OHLCV else []
    scope = Scope.of({(each["symbol"], each["interval"]) for each in bar_series})
    window = Window(min(ts), max(ts) + 1)
    draft = Draft(digest[:16], "binance", Market.UM, window, scope, complete=True, digest=digest, dataset=str(dataset))
    load_rows(rt.db, shape, table, draft)


def into_lake(rt: Runtime, table: pa.Table, dataset: Dataset = Dataset.OHLCV) -> None:
    put_archive_receipts(rt.db, rt.lake.write(table, dataset=dataset), dataset=str(dataset))


def all_bars(rt: Runtime, symbols: Sequence[str], interval: Interval, window: Window) -> pa.Table:
    return read_everywhere(rt, Dataset.OHLCV, symbols, [interval], window)


def test_each_bar_comes_once_in_canonical_order_whichever_store_holds_it(rt: Runtime) -> None:
    whole = pa.concat_tables([bars(ETH, "1h", "2026-09-28", 240), bars(BTC, "1h", "2026-09-28", 240)])
    into_lake(rt, whole.slice(0, 400))
    into_mysql(rt, whole.slice(100))
    found = all_bars(rt, [BTC, ETH], Interval.H1, AUTUMN)
    assert found.equals(sort_bars(whole))


def test_where_both_hold_a_bar_mysql_counts(rt: Runtime) -> None:
    hot = bars(BTC, "1d", "2026-10-01", 5, seed=1)
    cold = bars(BTC, "1d", "2026-09-29", 5, seed=2, source=Source.VISION)
    into_lake(rt, cold)
    into_mysql(rt, hot)
    found = all_bars(rt, [BTC], Interval.D1, AUTUMN)
    assert found.equals(pa.concat_tables([cold.slice(0, 2), hot]))


def test_a_long_series_comes_by_months_and_only_where_something_is_stored(rt: Runtime) -> None:
    into_lake(rt, bars(BTC, "1d", "2026-08-30", 4))
    into_mysql(rt, bars(BTC, "1d", "2026-10-31", 2))
    ever = Window(0, 253_402_300_800_000)
    months = list(iter_bars(rt, BTC, Interval.D1, ever))
    assert [month.num_rows for month in months] == [2, 2, 1, 1], "August to November, without an empty October"
    assert pa.concat_tables(months).equals(all_bars(rt, [BTC], Interval.D1, AUTUMN_AND_MORE))
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


OCTOBER = Window.of("2026-10-01", "2026-11-01")
FORMS = [("1m", 2 * 1440), ("15m", 60 * 96), ("4h", 60 * 6)]


@pytest.mark.parametrize("kind", KINDS)
def test_however_rows_are_split_between_the_stores_there_is_one_truth(
    make_installation: MakeInstallation, replica: ReplicaHandle, kind: str
) -> None:
    """Every row in MySQL alone, the lake alone, both, both with other values, or in none: in runs, as outages make."""
    seed = random.randrange(2**32)
    rng = np.random.default_rng(seed)
    start = Window.of("2026-10-30", "2026-10-31").start_ms
    with make_installation(replica, kind=kind).open() as rt:
        hot, cold, truth = [], [], []
        for symbol in (BTC, ETH, COIN):
            for interval, count in FORMS:
                places = np.repeat(rng.integers(0, 5, count // 60 + 1), 60)[:count]  # runs of sixty rows share a fate
                places[rng.integers(0, count, 20)] = rng.integers(0, 5, 20)
                ours = bars(symbol, interval, start, count, seed=1)
                theirs = bars(symbol, interval, start, count, seed=2)
                in_hot, in_cold, differs = np.isin(places, [1, 3, 4]), np.isin(places, [2, 3, 4]), places == 4
                hot.append(ours.filter(pa.array(in_hot)))
                cold += [ours.filter(pa.array(in_cold & ~differs)), theirs.filter(pa.array(differs))]
                truth.append(ours.filter(pa.array(places > 0)))
        into_mysql(rt, pa.concat_tables(hot))
        into_lake(rt, sort_bars(pa.concat_tables(cold)))
        whole = sort_bars(pa.concat_tables(truth))
        intervals = [Interval(name) for name, _ in FORMS]
        ts = whole["ts"].cast(pa.int64()).to_numpy()
        for _ in range(6):
            begin, end = sorted(rng.integers(start - DAY_MS, start + 4 * DAY_MS, 2).tolist())
            window = Window(begin, end + 1)
            wanted = whole.filter(pa.array((ts >= window.start_ms) & (ts < window.end_ms)))
            found = read_everywhere(rt, Dataset.OHLCV, [ETH, COIN, BTC], intervals, window)
            assert found.equals(wanted), f"seed {seed}: {window}"
        months = list(
            iter_everywhere(rt, Dataset.OHLCV, [BTC, ETH, COIN], intervals, Window.of("2026-08-05", "2027-02-01"))
        )
        assert sort_bars(pa.concat_tables(months)).equals(whole)
        assert all(month.num_rows for month in months)


def test_funding_and_metrics_are_read_from_both_stores_too(rt: Runtime) -> None:
    settled, ratios = funding(BTC, "2026-09-20", 90), metrics(BTC, "2026-10-30", 900)
    special = funding(BTC, "2026-10-01", 3).set_column(2, "rate_type", pa.array(["Special"] * 3)).cast(settled.schema)
    into_lake(rt, settled.slice(0, 60), Dataset.FUNDING)
    into_mysql(rt, pa.concat_tables([settled.slice(40), special]), Dataset.FUNDING)
    into_lake(rt, ratios.slice(0, 300), Dataset.METRICS)
    into_mysql(rt, ratios.slice(250, 400), Dataset.METRICS)
    into_lake(rt, ratios.slice(600), Dataset.METRICS)
    assert read_everywhere(rt, Dataset.FUNDING, [BTC], None, AUTUMN).equals(pa.concat_tables([settled, special]))
    assert read_everywhere(rt, Dataset.METRICS, [BTC, ETH], None, AUTUMN).equals(ratios)


def test_rows_that_strayed_into_the_outer_partitions_are_seen(rt: Runtime) -> None:
    into_mysql(rt, bars(BTC, "1h", "2026-10-01", 3))
    rt.db.run("straying", lambda c: c.execute(text("UPDATE ohlcv SET ts = '2019-05-05 05:00:00' LIMIT 1")))
    found = all_bars(rt, [BTC], Interval.H1, Window.of("2019-01-01", "2026-12-01"))
    assert found["ts"].cast(pa.int64()).to_pylist()[0] == Window.of("2019-05-05T05:00", "2020-01-01").start_ms
    assert found.num_rows == 3


def test_the_lake_is_not_asked_for_what_mysql_holds_whole(rt: Runtime) -> None:
    into_mysql(rt, pa.concat_tables([bars(name, "1m", "2026-10-31T20:00", 480) for name in (BTC, ETH)]))
    asleep = replace(rt, lake=None)  # type: ignore[arg-type]
    night = Window.of("2026-10-31T20:00", "2026-11-01T04:00")
    assert all_bars(asleep, [BTC, ETH], Interval.M1, night).num_rows == 960
    with pytest.raises(AttributeError):
        all_bars(asleep, [BTC, COIN], Interval.M1, night)


@pytest.mark.parametrize("kind", KINDS)
def test_a_month_on_its_way_out_and_back_is_read_right_at_every_moment(
    make_installation: MakeInstallation, replica: ReplicaHandle, kind: str
) -> None:
    window = Window.of("2026-08-30", "2026-11-02")
    with make_installation(replica, kind=kind).open() as rt:
        whole = pa.concat_tables([bars(name, "1h", window.start_ms, 63 * 24) for name in (BTC, ETH)])
        into_mysql(rt, whole)
        over, wrong, reads = threading.Event(), [], [0]

        def read() -> None:
            while not over.is_set():
                if not read_everywhere(rt, Dataset.OHLCV, [BTC, ETH], [Interval.H1], window).equals(whole):
                    wrong.append(reads[0])
                reads[0] += 1

        readers = [threading.Thread(target=read) for _ in range(1)]
        for each in readers:
            each.start()
        try:
            for month in (Month(2026, 9), Month(2026, 10)):
                rows = rows_of(whole, month)
                into_lake(rt, rows)
                take_out(rt, month)
                assert rt.db.run("counting", lambda c, m=month: c.execute(text(count_of(m))).scalar()) == 0  # type: ignore[misc]
            into_mysql(rt, rows_of(whole, Month(2026, 9)))
        finally:
            over.set()
            for each in readers:
                each.join()
        assert (wrong, reads[0] > 4) == ([], True)


def rows_of(whole: pa.Table, month: Month) -> pa.Table:
    ts = whole["ts"].cast(pa.int64()).to_numpy()
    window = Window.of(f"{month}-01", f"{month.plus(1)}-01")
    return whole.filter(pa.array((ts >= window.start_ms) & (ts < window.end_ms)))


def count_of(month: Month) -> str:
    return f"SELECT COUNT(*) FROM ohlcv PARTITION ({month.partition})"


def take_out(rt: Runtime, month: Month) -> None:
    """What an export does once the lake holds the rows: out of the table in one stroke, and gone."""
    leaving = Leaving(Dataset.OHLCV, month)
    with MonthRows.open(rt.db, Dataset.OHLCV, month) as rows:
        mark = rows.mark()
    assert exchange_out(rt.db, leaving, mark)
    rt.db.run("dropping", lambda connection: connection.execute(text(f"DROP TABLE {leaving.twin}")))


_ROWS = st.lists(st.integers(0, 59), unique=True, max_size=30)
HOUR, OTHER = (bars(BTC, "1m", "2026-11-01", 60, seed=seed) for seed in (1, 2))


@given(hot=_ROWS, cold=_ROWS)
def test_a_join_has_every_row_once_the_first_store_s_where_both_have_it(hot: list[int], cold: list[int]) -> None:
    mine, other = (table.take(pa.array(rows, pa.int64())) for table, rows in ((HOUR, hot), (OTHER, cold)))
    found = join_stores(mine, other)
    wanted = [(HOUR if row in hot else OTHER).slice(row, 1) for row in sorted({*hot, *cold})]
    assert found.combine_chunks().equals(pa.concat_tables([OHLCV.empty_table(), *wanted]).combine_chunks())


def test_intervals_come_in_the_order_of_their_names_as_canonical_order_has_it() -> None:
    tables = [bars(name, interval, "2026-11-01", 3) for name in (ETH, BTC) for interval in ("1m", "1d", "15m", "4h")]
    assert join_stores(pa.concat_tables(tables[::2]), pa.concat_tables(tables[1::2])).equals(
        sort_bars(pa.concat_tables(tables))
    )


@given(
    held=st.lists(st.sets(st.integers(0, 95)), min_size=3, max_size=3),
    whole=st.booleans(),
    bounds=st.tuples(st.integers(-40, 100 * 60), st.integers(1, 100 * 60)),
    step=st.sampled_from([Interval.M15, Interval.H1]),
)
def test_holes_are_where_grid_points_lack_and_only_there(
    held: list[set[int]], whole: bool, bounds: tuple[int, int], step: Interval
) -> None:
    first = OCTOBER.start_ms + 20 * 3_600_000
    window = Window(first + bounds[0] * 60_000, first + (bounds[0] + bounds[1]) * 60_000)
    names = [BTC, ETH, COIN]
    grid = [first + number * step.ms for number in range(96)]
    points = {
        name: {grid[n] for n in (range(96) if whole else mine) if grid[n] in window}
        for name, mine in zip(names, held, strict=True)
    }
    rows = pa.table(
        {
            "symbol": pa.array([name for name in names for _ in points[name]], pa.string()),
            "ts": pa.array([at for name in names for at in points[name]], pa.int64()).cast(OHLCV.field("ts").type),
        }
    )
    found = list(holes_of(rows, names, step.ms, window))
    opens = range(-(-window.start_ms // step.ms) * step.ms, window.end_ms, step.ms)
    lacking = {(name, at) for name in names for at in opens if at not in points[name]}
    covered = {(name, at) for stretch, mine in found for name in mine for at in opens if at in stretch}
    assert lacking <= covered
    for stretch, mine in found:
        assert window.covers(stretch)
        for name in mine:
            assert any((name, at) in lacking for at in opens if at in stretch)
    assert all(before[0].end_ms <= after[0].start_ms for before, after in pairwise(found))
