"""A client that nobody here wrote keeps books, trades and bars by the replica's streams: ccxt.pro, with its snapshots.

Its URLs are the replica's; all else is its own: SUBSCRIBE, routes, what it buffers before a snapshot, what it takes for
a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt
import ccxt.pro
import pytest

from tests.fixtures.live import START, LiveReplica, live_in_loop

SYMBOLS = {"spot": "BTC/USDT", "um": "BTC/USDT:USDT"}
PATHS = {"spot": "/api/v3/klines", "um": "/fapi/v1/klines"}
WAIT_S = 60


@asynccontextmanager
async def clients(speed: str) -> AsyncIterator[tuple[LiveReplica, dict[str, Any]]]:
    """A replica in a hurry, and ccxt.pro on both of its markets."""
    async with live_in_loop("--generate", "7", "--start", START, "--speed", speed) as live:
        options = {"watchTrades": {"name": "aggTrade"}, "fetchMarkets": {"types": ["spot"]}}
        spot = ccxt.pro.binance({"enableRateLimit": False, "options": options})
        spot.urls["api"]["public"] = f"{live.rest}/api/v3"
        spot.urls["api"]["ws"]["spot"] = f"{live.spot_ws}/ws"
        um = ccxt.pro.binanceusdm(
            {"enableRateLimit": False, "options": {**options, "fetchMarkets": {"types": ["linear"]}}}
        )
        um.urls["api"]["fapiPublic"] = f"{live.rest}/fapi/v1"
        um.urls["api"]["ws"]["linear"] = f"{live.um_ws}/ws"
        try:
            async with asyncio.timeout(WAIT_S):
                yield live, {"spot": spot, "um": um}
        finally:
            await spot.close()
            await um.close()


def sides(book: Any) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """A book's levels as numbers, best first."""
    bids, asks = ([(float(price), float(size)) for price, size in book[side]] for side in ("bids", "asks"))
    return bids, asks


async def for_ever(client: Any, symbol: str) -> None:
    """Watches a book until something is raised."""
    while True:
        await client.watch_order_book(symbol)


async def watch_again(client: Any, symbol: str) -> Any:
    """The next book after a gap, as ccxt's users get it: by asking again.

    ccxt does not see that a snapshot is older than the first diff it kept; it raises its ChecksumError once more when
    the next diff comes, and the call after that starts over. On a busy machine that is an ordinary order of events.
    """
    while True:
        try:
            return await client.watch_order_book(symbol)
        except ccxt.ChecksumError:
            continue


@pytest.mark.parametrize("market", ["spot", "um"])
async def test_ccxt_keeps_the_book_that_the_oracle_has(market: str) -> None:
    async with clients("5") as (live, by_market):
        client, symbol = by_market[market], SYMBOLS[market]
        nonces: list[int] = []
        while len(set(nonces)) < 15:
            book = await client.watch_order_book(symbol)
            nonces.append(book["nonce"])
            truth = live.truth(market, "BTCUSDT", book["nonce"])
            assert (truth["update_id"], sides(truth)) == (book["nonce"], sides(book))
            assert len(book["bids"]) > 50
        # Not once each: ccxt shows a USD-M book again for the diff that ends where its snapshot does.
        assert nonces == sorted(nonces)


@pytest.mark.parametrize("market", ["spot", "um"])
async def test_ccxt_notices_a_dropped_diff_and_has_the_right_book_again(market: str) -> None:
    async with clients("5") as (live, by_market):
        client, symbol = by_market[market], SYMBOLS[market]
        await client.watch_order_book(symbol)
        live.faults({"match": {"kind": "depth", "nth": 3}, "action": {"drop": True}})
        with pytest.raises(ccxt.ChecksumError):
            await for_ever(client, symbol)
        for _ in range(3):
            book = await watch_again(client, symbol)
            assert sides(live.truth(market, "BTCUSDT", book["nonce"])) == sides(book)
        (gap,) = live.stream_sent(market, "btcusdt@depth@100ms")["unheard"]
        assert gap[0] <= gap[1]


@pytest.mark.parametrize("market", ["spot", "um"])
async def test_ccxt_reads_every_trade_and_the_bar_that_closes(market: str) -> None:
    async with clients("20") as (live, by_market):
        client, symbol = by_market[market], SYMBOLS[market]

        async def trades() -> list[dict[str, Any]]:
            seen: dict[int, dict[str, Any]] = {}
            while len(seen) < 50:
                for trade in await client.watch_trades(symbol):
                    seen[int(trade["id"])] = trade["info"]
            return [seen[number] for number in sorted(seen)]

        async def closed_bar() -> list[float]:
            first = None
            while True:
                bars = await client.watch_ohlcv(symbol, "1m")
                first = bars[-1][0] if first is None else first
                for bar in client.ohlcvs[symbol]["1m"]:
                    if bar[0] == first and bars[-1][0] > first:
                        return list(bar)

        async with asyncio.TaskGroup() as both:
            told, closed = both.create_task(trades()), both.create_task(closed_bar())
        ids = [row["a"] for row in told.result()]
        assert ids == list(range(ids[0], ids[-1] + 1))
        truth = live.trades(market, "BTCUSDT", ids[0], ids[-1])
        assert [[row[key] for key in "apqTm"] for row in told.result()] == [
            [row[key] for key in "apqTm"] for row in truth
        ]
        bar = closed.result()
        query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": int(bar[0]), "limit": 1}
        async with aiohttp.ClientSession() as session, session.get(live.rest + PATHS[market], params=query) as answer:
            (row,) = await answer.json()
        assert bar == [row[0], *(float(value) for value in row[1:6])]
