"""The client and the parser against the replica in its own process: the archive says what REST says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV_VALUES, Source
from gapless.domain.window import DAY_MS, next_month, parse_time
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.fetch import Fetched, Series, fetch_klines
from gapless.exchanges.binance.payloads import parse_klines
from gapless.exchanges.binance.vision.archive import Archive, Checksum
from gapless.exchanges.binance.vision.klines import parse_klines_zip
from gapless.exchanges.binance.vision.objects import KLINES, METRICS, ArchiveObject, Period, day_object, month_object
from tests.fixtures.replica import ReplicaHandle, start_replica


@pytest.fixture(scope="module")
def shared() -> Iterator[ReplicaHandle]:
    handle = start_replica(
        "--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30", "--um-weight", "0", "--spot-weight", "0"
    )
    yield handle
    handle.stop()


def made(market: Market, raw_symbol: str, interval: Interval, period: Period, at: str) -> ArchiveObject:
    return (month_object if period == "month" else day_object)(market, KLINES, raw_symbol, interval, parse_time(at))


@pytest.mark.parametrize(
    "obj",
    [
        made(Market.UM, "BTCUSDT", Interval.M1, "day", "2026-11-14"),
        made(Market.UM, "1000PEPEUSDT", Interval.H1, "month", "2026-10-01"),
        made(Market.UM, "BTCUSDT", Interval.D1, "month", "2022-04-01"),  # no header yet
        made(Market.SPOT, "币安人生USDT", Interval.M15, "month", "2026-10-01"),  # microseconds
        made(Market.SPOT, "BTCUSDT", Interval.H4, "month", "2024-12-01"),  # the last month in milliseconds
    ],
    ids=lambda obj: f"{obj.market}-{obj.name}",
)
async def test_an_object_holds_the_bars_that_rest_answers(
    shared: ReplicaHandle, tmp_path: Path, obj: ArchiveObject
) -> None:
    async with Archive(shared.vision, list_url=None) as archive:
        got = await archive.fetch(obj)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED
    parsed = parse_klines_zip(got.data, obj, exchange="binance", symbol="X")
    assert parsed.rejected == []
    assert obj.interval is not None
    wanted = Series("X", obj.raw_symbol, obj.interval, obj.interval.opens(obj.window))
    async with connect(
        obj.market, shared.url, control_url=None, var_dir=tmp_path, budget_share=1.0, max_wait_s=60.0
    ) as rest:
        pages = [page async for page in fetch_klines(rest, [wanted])]
    bodies = [("binance", "X", str(obj.interval), page.body) for page in pages if isinstance(page, Fetched)]
    assert len(bodies) == len(pages) > 0
    bars, _ = parse_klines(bodies, Source.REST)
    bars = bars.sort_by("ts")
    columns = ["ts", *OHLCV_VALUES, "close_time"]
    assert parsed.bars.num_rows > 0
    assert parsed.bars.select(columns).combine_chunks().equals(bars.select(columns).combine_chunks())


async def test_what_is_not_published_yet_and_what_never_was_are_absent(shared: ReplicaHandle) -> None:
    objects = [
        made(Market.UM, "BTCUSDT", Interval.M1, "day", "2026-11-15"),
        made(Market.UM, "BTCUSDT", Interval.M1, "month", "2026-11-01"),
        made(Market.UM, "BTCUSDT", Interval.M1, "month", "2015-01-01"),
        made(Market.UM, "NOSUCHUSDT", Interval.M1, "day", "2026-11-14"),
    ]
    async with Archive(shared.vision, list_url=None) as archive:
        assert await asyncio.gather(*map(archive.fetch, objects)) == [None] * 4
        assert await archive.told_sha256(objects[0]) is None


async def test_a_network_that_is_cut_is_waited_for_and_costs_no_object(replica: ReplicaHandle) -> None:
    newest = replica.now_ms() - 3 * DAY_MS
    days = [day_object(Market.UM, KLINES, "BTCUSDT", Interval.M5, newest - n * DAY_MS) for n in range(6)]
    told: list[str] = []
    mended: list[asyncio.Future[None]] = []

    def on_wait(text: str) -> None:
        told.append(text)
        if "seems to be away" in text:
            mended.append(asyncio.get_running_loop().run_in_executor(None, replica.cut_network, 0))

    async with Archive(replica.vision, list_url=None, on_wait=on_wait) as archive:
        assert await archive.fetch(days[0]) is not None
        await asyncio.to_thread(replica.cut_network, 3600)
        got = await asyncio.gather(*map(archive.fetch, days))
    assert [each.checksum for each in got if each] == [Checksum.VERIFIED] * 6
    away, back = told
    assert "the network seems to be away" in away
    assert "the network is back" in back
    await asyncio.gather(*mended)


async def test_the_listing_names_the_dead_too_and_the_months_that_are_out(shared: ReplicaHandle) -> None:
    told: list[str] = []
    async with Archive(shared.vision, list_url=shared.vision_list, on_wait=told.append) as archive:
        symbols = await archive.symbols(Market.UM, KLINES)
        months = await archive.periods(Market.UM, KLINES, "BTCUSDT", Interval.D1, "month")
        days = await archive.periods(Market.UM, METRICS, "BTCUSDT", None, "day")
        assert await archive.symbols(Market.UM, METRICS)
    assert {"BTCUSDT", "1000PEPEUSDT", "OMGUSDT"} <= set(symbols)
    assert months[-1] == parse_time("2026-10-01")
    assert [next_month(at) for at in months[:-1]] == months[1:]
    assert len(days) > 1000  # several pages
    assert told == []
