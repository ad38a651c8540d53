"""The sidecar at work: everything opened, joined, and ended in order."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gapless.config import Settings
from gapless.domain.instrument import Instrument, Market
from gapless.errors import ConfigError, StorageError
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.exchanges.pacing.heeding import heeding
from streamer.connections import Connections
from streamer.opening import open_stores
from streamer.operations.clocks import ClockWatch, LoopWatch
from streamer.operations.http import HealthServer
from streamer.operations.request import Orders, StreamRequest
from streamer.operations.settings_file import StreamerSettings
from streamer.operations.status import encode_status, status_key
from streamer.operations.universe import Universe
from streamer.outlet import Outlet
from streamer.refusals import Refusals
from streamer.resuming import Tails, read_tails
from streamer.side import MarketSide
from streamer.sidecar import Sidecar
from streamer.stores import Stores
from streamer.transport import transport_of
from streamer.watch import Watch

_REDIS_WAIT_S = 0.2
_COLLECT_AFTER = 200_000
"""So many objects more and the young ones are looked through for circles. A message makes fifty that are none, so the
interpreter's 700 would look through them for every dozen messages; circles come from errors and ended tasks alone."""


async def run_session(
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    *,
    orders: Orders,
    say: Callable[[str], None],
) -> int:
    """Stream until `orders.over`, then write what is under way. 0: all was written; 1: some of it waits on disk.

    Raises:
        ConfigError: something that only a person can put right. StorageError: the spool cannot be used.
    """
    if settings.redis_url is None:
        raise ConfigError("GAPLESS_REDIS_URL is not set: `gapless up` starts a Redis and sets it, .env names another")
    url = settings.redis_url.get_secret_value()
    shard = str(request.shard).replace("/", "-")
    async with AsyncExitStack() as stack:
        redis = heeding(Redis.from_url(url, socket_timeout=10.0, socket_connect_timeout=10.0, protocol=2))
        stack.push_async_callback(redis.aclose)
        outlet = Outlet(
            url, settings.spool_dir / "outlet" / shard, options.outlet, name=f"gapless-streamer-{shard}", say=say
        )
        stack.callback(outlet.close)
        sidecar = Sidecar(request, options, outlet, Refusals(settings.spool_dir, say=say), say=say)
        outlet.on_trades_shed = sidecar.on_trades_shed
        rests: dict[Market, BinanceRest] = {}

        async def listing(market: Market) -> Sequence[Instrument]:
            if market not in rests:
                rests[market] = await stack.enter_async_context(_rest(market, settings, say))
            return (await rests[market].instruments()).instruments

        universe = Universe(request, settings.symbols_file, listing, options.operations, say=say)
        watch = Watch(sidecar, universe, loop=LoopWatch(on_stall=_stalled(say)))
        if request.port is not None:
            server = await stack.enter_async_context(HealthServer(watch, request.host, request.port))
            say(f"health and metrics: {server.url}/metrics")
        if not await _unless(orders.over, universe.first()):
            return 0
        stores = await stack.enter_async_context(open_stores(request, settings, options, sidecar, rests, say=say))
        connections = Connections(
            sidecar,
            transport_of(msgspec.structs.replace(options.transport, library=request.transport)),
            {market: settings.ws_url(market) for market in Market},
            options.connections,
            say=say,
            proxy_for=settings.proxy_for,
        )
        watch.begin(connections, stores)

        def add_sides() -> list[MarketSide]:
            """Those of markets that were asked for the first time."""
            new = [market for market in rests if market not in sidecar.sides]
            for market in new:
                sidecar.sides[market] = MarketSide(
                    market,
                    rests[market],
                    outlet,
                    options,
                    top=request.top,
                    books=request.books,
                    refuse=sidecar.refusals.take,
                    tell=sidecar.tell,
                    stores=stores,
                )
            return [sidecar.sides[market] for market in new]

        outlet_task = asyncio.create_task(outlet.run(), name="outlet")
        try:
            await _connected(outlet, outlet_task, orders, say)
            return await _work(
                sidecar, connections, stores, universe, watch, outlet_task, redis, orders, rests, add_sides, say
            )
        finally:
            outlet_task.cancel()
            with suppress(asyncio.CancelledError):
                await outlet_task


async def _work(
    sidecar: Sidecar,
    connections: Connections,
    stores: Stores,
    universe: Universe,
    watch: Watch,
    outlet_task: asyncio.Task[None],
    redis: Redis,
    orders: Orders,
    rests: Mapping[Market, BinanceRest],
    add_sides: Callable[[], list[MarketSide]],
    say: Callable[[str], None],
) -> int:
    operations = sidecar.options.operations
    changes: asyncio.Queue[Sequence[Instrument]] = asyncio.Queue(maxsize=1)
    new_sides: asyncio.Queue[MarketSide] = asyncio.Queue()  # one a market

    async def run_sides() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                side = await new_sides.get()
                group.create_task(side.run(), name=str(side.market))

    async def want(instruments: Sequence[Instrument], *, first: bool = False) -> None:
        for side in add_sides():
            new_sides.put_nowait(side)
        specs = sidecar.specs_of(instruments)
        new = [spec for spec in specs if (spec.market, spec.name) not in sidecar.specs]
        sidecar.prepare(specs, await _tails(redis, new, first, say))
        stores.want(instruments)
        connections.want(specs)
        sidecar.begun()

    def changed(instruments: Sequence[Instrument]) -> None:
        if changes.full():
            changes.get_nowait()
        changes.put_nowait(instruments)

    async def follow() -> None:
        while True:
            await want(await changes.get())

    await want(universe.instruments, first=True)
    gc.collect()
    gc.freeze()  # what is there now stays: no collection has to look through it again
    gc.set_threshold(_COLLECT_AFTER)
    say(f"{len(universe.instruments)} instruments, {len(sidecar.specs)} streams")
    tasks = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("connections", connections.run()),
            ("markets", run_sides()),
            ("ticks", sidecar.tick()),
            ("refusals", sidecar.refusals.run()),
            ("wanted books", sidecar.show_wanted(redis)),
            ("stores", stores.run()),
            ("instruments", universe.run(changed, orders.reload)),
            ("changes", follow()),
            ("loop", watch.loop.run()),
            ("clocks", ClockWatch(rests, operations.clock_s, on_offset=watch.on_offset, say=say).run()),
            ("status", _tell_status(watch, redis, operations.status_s, operations.status_expires_s)),
        )
    ]  # fmt: skip
    over = asyncio.create_task(orders.over.wait(), name="over")
    try:
        done, _ = await asyncio.wait([over, outlet_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {over}:
            task.result()  # what failed is raised; what ended by itself ends all
        return await _end(sidecar, connections, stores, tasks, say)
    finally:
        for task in (over, *tasks):
            task.cancel()
        await asyncio.gather(over, *tasks, return_exceptions=True)


async def _end(
    sidecar: Sidecar,
    connections: Connections,
    stores: Stores,
    tasks: Sequence[asyncio.Task[None]],
    say: Callable[[str], None],
) -> int:
    """End in order: no more messages, then nothing more to order or search, then all that was told is written."""
    left_s = sidecar.options.operations.stop_s
    sidecar.ending = True
    await connections.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(left_s / 4):
            await asyncio.gather(*(task for task in tasks if task.get_name() == "connections"), return_exceptions=True)
    for task in tasks:
        if task.get_name() not in ("stores", "status"):
            task.cancel()
    await asyncio.gather(*(t for t in tasks if t.get_name() not in ("stores", "status")), return_exceptions=True)
    for side in sidecar.sides.values():
        side.backfill.close()
        side.show_newest()
    sidecar.boundaries.stopped(sidecar.specs.values(), sidecar.now())
    await sidecar.refusals.flush()
    stored = await stores.drain(left_s / 4)
    written = await sidecar.outlet.drain(left_s / 2)
    say("all was written" if written and stored else "what Redis or MySQL did not take waits on disk")
    return 0 if written and stored else 1


async def _tails(redis: Redis, specs: Sequence[StreamSpec], first: bool, say: Callable[[str], None]) -> Tails:
    try:
        return await read_tails(redis, specs, gaps=first)
    except StorageError as error:
        say(f"{error}; streams begin without a look at what was before")
        return Tails()


async def _unless(over: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Do this unless the end is ordered first; whether it was done."""
    doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait([doing, ending], return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return True
    finally:
        for task in (doing, ending):
            task.cancel()
        await asyncio.gather(doing, ending, return_exceptions=True)


async def _connected(outlet: Outlet, task: asyncio.Task[None], orders: Orders, say: Callable[[str], None]) -> None:
    """Wait until Redis takes entries and what a process before left on disk is in it."""
    told = False
    since = time.monotonic()
    while not orders.over.is_set():
        state = outlet.state()
        if state.connected and not state.spooling:
            return
        if task.done():
            task.result()
        if not told and time.monotonic() - since > 2.0:
            say("waiting for Redis" if not state.connected else "bringing what waited on disk to Redis")
            told = True
        await asyncio.sleep(_REDIS_WAIT_S)


async def _tell_status(watch: Watch, redis: Redis, every_s: float, expires_s: float) -> None:
    while True:
        status = watch.status()
        with suppress(RedisError, OSError):  # it is told again in a moment
            await redis.set(status_key(status.shard), encode_status(status), px=int(expires_s * 1000))
        await asyncio.sleep(every_s)


def _rest(market: Market, settings: Settings, say: Callable[[str], None]) -> BinanceRest:
    return connect(
        market,
        settings.rest_url(market),
        control_url=settings.control_url,
        var_dir=settings.var_dir,
        budget_share=settings.budget_share,
        max_wait_s=120.0,
        on_wait=lambda reason, until_ms: say(f"{market}: {reason}"),
    )


def _stalled(say: Callable[[str], None]) -> Callable[[float], None]:
    return lambda late_s: say(f"the event loop stood still for {late_s:.1f} s")
