"""A whole session in the test's loop, and the account of what it wrote against what the exchange sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis

from gapless.config import Settings, load_settings
from gapless.domain.live import GapEvent, Kind, book_key, gap_of, stream_key
from gapless.exchanges.binance.streams.names import CHANNELS
from streamer.books.settings import BookSettings
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
    continuity=ContinuitySettings(
        patience_ms=150, tick_ms=50, first_pause_s=0.1, longest_pause_s=0.5, confirm_ms=300, gather_ms=500,
    ),
    books=BookSettings(first_pause_s=0.1, longest_pause_s=1.0),
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


def settings_for(
    live: LiveReplica, redis_url: str, var_dir: Path, mysql_url: str | None = None, symbols_file: Path | None = None
) -> Settings:
    return load_settings(
        **({} if symbols_file is None else {"symbols_file": symbols_file}),
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
    symbols_file: Path | None = None,
    port: int | None = None,
    channels: tuple[Kind, ...] = CHANNELS,
    options: StreamerSettings = QUICK,
    mysql_url: str | None = None,
    **request: Any,
) -> AsyncIterator[Running]:
    """A session of these symbols or of a file's; ended at once when the block is left and it was not stopped."""
    said: list[str] = []
    orders = Orders()
    named = None if symbols_file else ",".join(symbols)
    asked = StreamRequest(symbols=named, channels=channels, port=port, **request)
    task = asyncio.create_task(
        run_session(
            asked,
            settings_for(live, redis_url, var_dir, mysql_url, symbols_file),
            options,
            orders=orders,
            say=said.append,
        )
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
    told = lost_trades(run.redis, symbol) & set(range(start, end + 1))
    assert missing == told, (
        f"{symbol}: missing, not told {sorted(missing - told)[:9]}, told {sorted(told - missing)[:9]}"
    )
    return written


def account_streams(run: Running) -> None:
    """No Stream holds an identity twice, and diffs ascend."""
    for key in run.redis.scan_iter("md.*", _type="stream"):
        if key == b"md.gaps":
            continue
        kind, _, symbol = key.decode().removeprefix("md.").split(".", 2)
        written = identities(run.redis, Kind(kind), symbol)
        assert len(written) == len(set(written)), f"{key!r}: an identity twice"
        if kind == Kind.DEPTH:
            assert list(map(int, written)) == sorted(map(int, written)), f"{key!r}: diffs out of order"


async def true_books(run: Running, symbols: Iterable[str] = RAW, timeout_s: float = 20.0) -> None:
    """The books of these symbols become live, and every level known of them equals the oracle's at its id."""
    left = list(symbols)
    books: dict[str, dict[str, Any]] = {}
    for symbol in left:
        run.redis.set(book_key("want", "binance", symbol), "1", ex=60)
        run.redis.delete(book_key("full", "binance", symbol))

    def all_live() -> bool:
        for symbol in left:
            value: Any = run.redis.get(book_key("full", "binance", symbol))
            if value is None or (book := json.loads(value))["state"] != "live":
                return False
            books[symbol] = book
        return True

    await run.until(all_live, "all levels of live books", timeout_s)
    for symbol, book in books.items():
        market, raw = RAW[symbol]
        truth = run.live.truth(market, raw, book["id"])
        for side in ("bids", "asks"):
            mine, theirs = book[side], [list(level) for level in truth[side]]
            assert mine, f"{symbol}: no {side}"
            assert mine == theirs[: len(mine)], f"{symbol}: {side} differ at {book['id']}"


async def settle(run: Running, symbols: Iterable[str] = RAW, timeout_s: float = 20.0) -> None:
    """Stop the exchange's clock: all that it sent is written once or told as lost, and every book is the oracle's."""
    symbols = list(symbols)
    run.live.freeze()

    def accounted() -> bool:
        try:
            for symbol in symbols:
                account_trades(run, symbol)
        except (AssertionError, IndexError):
            return False
        return True

    with suppress(AssertionError):
        await run.until(accounted, "trades that are complete or told", timeout_s)
    for symbol in symbols:
        account_trades(run, symbol)
    account_streams(run)
    await true_books(run, symbols, timeout_s)


async def heard_again(run: Running, timeout_s: float = 40.0) -> None:
    """Trades made from now on are written: a loss at the very end would show by nothing that follows."""

    def newest() -> dict[str, int]:
        tails: dict[str, int] = {}
        for symbol in RAW:
            rows: Any = run.redis.xrevrange(stream_key(Kind.TRADES, "binance", symbol), count=1)
            tails[symbol] = int(rows[0][1][b"i"]) if rows else -1
        return tails

    def are_passed(marks: dict[str, int]) -> bool:
        found = newest()
        return all(found[symbol] > mark for symbol, mark in marks.items())

    for _ in range(2):
        streams = run.live.sent()["streams"]
        marks = {s: int(streams[market][f"{raw.lower()}@aggTrade"]["last_id"]) for s, (market, raw) in RAW.items()}
        await run.until(partial(are_passed, marks), "new trades", timeout_s)


async def books_stay_live(run: Running, for_ms: int = 800) -> None:
    """All books are live in a status that is later than the patience with a hole: none is about to be given up."""
    mark_ms = time.time_ns() // 1_000_000 + for_ms

    def are_live() -> bool:
        status = run.status()
        return status is not None and status.at_ms > mark_ms and run.books_live(len(RAW))

    await run.until(are_live, "books that stay live", 40)


def snapshots_asked(live: LiveReplica) -> int:
    """How many snapshots REST gave so far, on all markets."""
    return sum(int(live.stats().get(market, {}).get("requests", {}).get("depth", 0)) for market in ("spot", "um"))


def free_of_limits(live: LiveReplica, **changes: Any) -> None:
    """As many connections as anybody wants."""
    live.limits(spot={"attempts_per_5m": 1_000_000, **changes}, um={"attempts_per_5m": 1_000_000, **changes})
