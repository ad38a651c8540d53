"""A whole session in the test's loop, and the account of what it wrote against what the exchange sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from gapless.config import Settings, load_settings
from gapless.domain.live import GapEvent, Kind, book_key, gap_of, stream_key
from gapless.exchanges.binance.streams.names import CHANNELS
from streamer.connections.settings import ConnectionSettings
from streamer.continuity.settings import ContinuitySettings
from streamer.operations.request import Orders, StreamRequest
from streamer.operations.settings import OperationsSettings
from streamer.operations.settings_file import StreamerSettings
from streamer.operations.status import StreamerStatus, decode_status, status_key
from streamer.session import run_session
from tests.fixtures.live import LiveReplica

RAW = {"BTC/USDT": ("spot", "BTCUSDT"), "BTC/USDT:USDT": ("um", "BTCUSDT"), "ETH/USDT:USDT": ("um", "ETHUSDT")}
QUICK = StreamerSettings(
    operations=OperationsSettings(status_s=0.2, stop_s=8.0),
    connections=ConnectionSettings(
        tick_s=0.05, backoff_s=0.05, backoff_cap_s=0.5, connect_s=3.0, overlap_s=3.0, lately_s=1.0, linger_s=0.3,
        attempts=10_000, ping_after_s=1.0, dead_after_s=2.0,
    ),
    continuity=ContinuitySettings(patience_ms=150, tick_ms=50, first_pause_s=0.1, confirm_ms=300, gather_ms=500),
)  # fmt: skip


@dataclass
class Running:
    """A session at work."""

    live: LiveReplica
    redis: Redis
    task: asyncio.Task[int]
    orders: Orders
    said: list[str] = field(default_factory=list)

    async def until(self, what: Callable[[], bool], why: str, timeout_s: float = 20.0) -> None:
        """Wait for something to hold, while the session works."""
        ends = time.monotonic() + timeout_s
        while not what():
            if self.task.done():
                self.task.result()
                raise AssertionError(f"the session ended while waiting for {why}: {self.said[-5:]}")
            assert time.monotonic() < ends, f"not within {timeout_s} s: {why}; it said {self.said[-5:]}"
            await asyncio.sleep(0.02)

    def status(self) -> StreamerStatus | None:
        value = self.redis.get(status_key("0/1"))
        return decode_status(value) if isinstance(value, bytes) else None

    def books_live(self, count: int) -> bool:
        """Whether so many books are live."""
        status = self.status()
        return status is not None and sum(book.state == "live" for book in status.books) == count

    async def stop(self) -> int:
        """End it in order."""
        self.orders.over.set()
        return await asyncio.wait_for(self.task, 30)


def settings_for(live: LiveReplica, redis_url: str, var_dir: Path, mysql_url: str | None = None) -> Settings:
    return load_settings(
        native=False,
        redis_url=redis_url,
        redis_control_url=redis_url,
        var_dir=var_dir,
        binance_spot_rest_url=live.rest,
        binance_um_rest_url=live.rest,
        binance_spot_ws_url=live.spot_ws,
        binance_um_ws_url=live.um_ws,
        mysql_url=mysql_url,
    )


@asynccontextmanager
async def running(
    live: LiveReplica,
    redis_url: str,
    var_dir: Path,
    *,
    symbols: Iterable[str] = RAW,
    channels: tuple[Kind, ...] = CHANNELS,
    options: StreamerSettings = QUICK,
    mysql_url: str | None = None,
    **request: Any,
) -> AsyncIterator[Running]:
    """A session of these symbols; ended at once when the block is left and it was not stopped."""
    said: list[str] = []
    orders = Orders()
    asked = StreamRequest(symbols=",".join(symbols), channels=channels, port=None, **request)
    task = asyncio.create_task(
        run_session(asked, settings_for(live, redis_url, var_dir, mysql_url), options, orders=orders, say=said.append)
    )
    redis = Redis.from_url(redis_url)
    try:
        yield Running(live, redis, task, orders, said)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        redis.close()


def identities(redis: Redis, kind: Kind, symbol: str) -> list[str]:
    """What a Stream holds, in its order."""
    rows: Any = redis.xrange(stream_key(kind, "binance", symbol))
    return [fields[b"i"].decode() for _, fields in rows]


def gaps(redis: Redis) -> list[GapEvent]:
    """All of `md.gaps`, oldest first."""
    rows: Any = redis.xrange("md.gaps")
    return [gap_of(id.decode(), fields) for id, fields in rows]


def lost_trades(redis: Redis, symbol: str) -> set[int]:
    """The trade ids told as missing and not as repaired: of events about the same ids the later one counts."""
    told: dict[int, bool] = {}
    for gap in gaps(redis):
        if gap.kind is Kind.TRADES and gap.symbol == symbol and gap.first.isdecimal():
            for number in range(int(gap.first), int(gap.last) + 1):
                told[number] = gap.repaired
    return {number for number, repaired in told.items() if not repaired}


def account_trades(run: Running, symbol: str, *, first: int | None = None, last: int | None = None) -> list[int]:
    """Every trade the exchange made is written once and in order, or told as lost; returns what was written."""
    market, raw = RAW[symbol]
    sent = run.live.stream_sent(market, f"{raw.lower()}@aggTrade")
    written = [int(each) for each in identities(run.redis, Kind.TRADES, symbol)]
    assert len(written) == len(set(written)), f"{symbol}: an id twice"
    start = written[0] if first is None else first
    end = int(sent["last_id"]) if last is None else last
    missing = set(range(start, end + 1)) - set(written)
    assert missing == lost_trades(run.redis, symbol) & set(range(start, end + 1)), f"{symbol}: missing but not told"
    return written


def account_depth(run: Running, symbol: str) -> list[int]:
    """No diff twice, ids ascending."""
    written = [int(each) for each in identities(run.redis, Kind.DEPTH, symbol)]
    assert written == sorted(set(written)), f"{symbol}: diffs doubled or out of order"
    return written


async def wanted_book(run: Running, symbol: str) -> dict[str, Any]:
    """All levels of a book, as somebody who asks for them gets them."""
    run.redis.set(book_key("want", "binance", symbol), "1", ex=30)
    key = book_key("full", "binance", symbol)
    run.redis.delete(key)
    await run.until(lambda: bool(run.redis.exists(key)), f"the full book of {symbol}")
    book: dict[str, Any] = json.loads(run.redis.get(key))  # type: ignore[arg-type]
    return book


async def assert_book_is_true(run: Running, symbol: str) -> None:
    """Every level known of a book equals the oracle's at its id."""
    market, raw = RAW[symbol]
    book = await wanted_book(run, symbol)
    assert book["state"] == "live", f"{symbol}: {book['state']}"
    truth = run.live.truth(market, raw, book["id"])
    for side in ("bids", "asks"):
        mine, theirs = book[side], [list(level) for level in truth[side]]
        assert mine, f"{symbol}: no {side}"
        assert mine == theirs[: len(mine)], f"{symbol}: {side} differ at {book['id']}"


Check = Callable[[Running], Awaitable[None]]
encode = msgspec.json.encode
