"""Binance REST, paced and patient: each call returns the body as received, or an error of ours that says what to do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import iso, to_ms
from gapless.errors import BadSymbol, Banned, ExchangeError, RateLimited, RegionRefused, Unreachable
from gapless.exchanges.binance.clock import ExchangeClock, TimeSample
from gapless.exchanges.binance.paging import kline_weight
from gapless.exchanges.binance.symbols import ExchangeInfo, parse_exchange_info
from gapless.exchanges.binance.verdict import Act, Verdict, judge
from gapless.exchanges.binance.wire import NoReply, Reply, Wire
from gapless.exchanges.pacing import WEIGHT, Pacer, Standing

_ENDPOINTS = {
    Market.SPOT: {"time": "publicGetTime", "exchangeInfo": "publicGetExchangeInfo", "klines": "publicGetKlines"},
    Market.UM: {
        "time": "fapiPublicGetTime",
        "exchangeInfo": "fapiPublicGetExchangeInfo",
        "klines": "fapiPublicGetKlines",
    },
}
_INFO_WEIGHT = {Market.SPOT: 20, Market.UM: 1}

_MISCOUNTED = frozenset({"fapiPublicGetTickerBookTicker", "fapiPublicV2GetTickerPrice"})
"""Endpoints whose used-weight header the exchange documents as wrong (reference 2.2)."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 8.0


class _Time(msgspec.Struct, rename="camel"):
    server_time: int


class BinanceRest:
    """One market's REST interface. An async context manager: entering reads the exchange's clock.

    Attributes:
        clock: the exchange's clock; bars are judged closed by its `now_ms()`.
        requests, weight: what was sent since entering, attempts that failed included.

    Args:
        base_url: what stands before `/api/v3` or `/fapi/v1`.
        pacer: the gate for every request; closed with this.
        max_wait_s: how long one call may wait for budget and bans altogether; the pacer's unless given.
        concurrency: requests under way at once.
        timeout_s: for connecting, and for each silence of the answer.
        attempts: tries for errors that pass (5xx, timeouts, cut answers); waits between them grow to 8 s, with jitter.
    """

    def __init__(
        self,
        market: Market,
        base_url: str,
        pacer: Pacer,
        *,
        max_wait_s: float | None = None,
        concurrency: int = 8,
        timeout_s: float = 10.0,
        attempts: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.market = market
        self.clock = ExchangeClock(monotonic)
        self.concurrency = concurrency
        self.requests = 0
        self.weight = 0
        self._host = urlsplit(base_url).netloc
        self._pacer = pacer
        self._wire = Wire(market, base_url, timeout_s, monotonic)
        self._max_wait_s = pacer.max_wait_s if max_wait_s is None else max_wait_s
        self._attempts = attempts
        self._monotonic = monotonic
        self._wall = wall
        self._sleep = sleep
        self._jitter = jitter
        self._slots = asyncio.Semaphore(concurrency)
        self._sampling = asyncio.Lock()
        pacer.follow(self.clock)

    async def __aenter__(self) -> Self:
        try:
            await self.server_time()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections and the pacer."""
        await self._wire.close()
        await self._pacer.close()

    async def server_time(self) -> TimeSample:
        """Read the exchange's clock; `clock` goes by it from now on."""
        reply = await self.call(self._endpoint("time"), {}, weight=1, about="the exchange's clock", expects="object")
        try:
            server_ms = msgspec.json.decode(reply.body, type=_Time).server_time
        except msgspec.DecodeError as error:
            raise ExchangeError(f"{self._name}: no time in the answer to /time ({error}); is this Binance?") from None
        sample = TimeSample(server_ms, reply.sent_s, reply.received_s, self._wall())
        self.clock.take(sample)
        return sample

    @property
    def usable_weight(self) -> int:
        """Weight a minute that all our processes together may spend, as far as the exchange has said its limit."""
        return next(pool.usable for pool in self._pacer.pools if pool.name == WEIGHT)

    async def standing(self) -> Standing:
        """How the budget stands that this client shares."""
        return await self._pacer.standing()

    async def exchange_info(self) -> str:
        """The body of exchangeInfo, as received (1 MB on USD-M, several on spot)."""
        endpoint, weight = self._endpoint("exchangeInfo"), _INFO_WEIGHT[self.market]
        reply = await self.call(endpoint, {}, weight=weight, about="exchangeInfo", expects="object")
        return reply.body

    async def instruments(self) -> ExchangeInfo:
        """exchangeInfo, read; the exchange's request limits are in force from now on, in all processes."""
        # In a thread: several MB on spot, and whoever streams must not stand still meanwhile.
        info = await asyncio.to_thread(parse_exchange_info, await self.exchange_info(), self.market)
        await self._pacer.set_limits({each.kind: (each.limit, each.window_ms) for each in info.rate_limits})
        return info

    async def klines(self, raw_symbol: str, interval: Interval | str, start_ms: int, end_ms: int, limit: int) -> str:
        """One page of bars that open from `start_ms` to `end_ms`, both inclusive, oldest first, as received.

        The newest bar may be open still: compare close times with `clock.now_ms()`.

        Raises:
            BadSymbol: the market does not know the symbol.
            ExchangeError: it did not work, and trying again did not help or cannot.
        """
        reply = await self.call(
            self._endpoint("klines"),
            {
                "symbol": raw_symbol,
                "interval": str(interval),
                "startTime": start_ms,
                "endTime": end_ms,
                "limit": limit,
            },
            weight=kline_weight(self.market, limit),
            about=f"{raw_symbol} {interval} {iso(start_ms)}..{iso(end_ms + 1)}",
            expects="array",
        )
        return reply.body

    async def call(
        self,
        endpoint: str,
        params: Mapping[str, str | int],
        *,
        weight: int,
        about: str,
        expects: Literal["array", "object"],
        also: Mapping[str, int] | None = None,
    ) -> Reply:
        """One good answer of any of ccxt's implicit endpoints.

        Args:
            weight, also: what it costs, see `Pacer.acquire`.
            about: what is asked for, with symbol and window, for messages.
            expects: the kind of JSON that a good answer is.

        Raises:
            RateLimited, Banned, RegionRefused, BadSymbol, Unreachable, ExchangeError: see `gapless.errors`.
        """
        deadline = self._monotonic() + self._max_wait_s
        failures: list[str] = []
        if self.clock.stale and endpoint != self._endpoint("time"):
            await self._read_clock_once()
        async with self._slots:
            while True:
                try:
                    reply = await self._send(endpoint, params, weight, also, deadline)
                except NoReply as error:
                    verdict = Verdict(Act.FAIL if error.lasting else Act.RETRY, str(error))
                else:
                    verdict = judge(reply.status, reply.body, expects)
                    if verdict.act is Act.TAKE:
                        return reply
                    if await self._halted(reply, verdict, about, deadline):
                        continue
                self._give_up(verdict, about, failures)
                failures.append(verdict.why)
                if len(failures) >= self._attempts:
                    raise Unreachable(
                        f"{self._name} {about}: {verdict.why}; gave up after {len(failures)} attempts, try again later"
                    )
                await self._sleep(self._jitter() * min(_FIRST_PAUSE_S * 2 ** (len(failures) - 1), _LONGEST_PAUSE_S))

    @property
    def _name(self) -> str:
        return f"binance {self.market}"

    def _endpoint(self, name: str) -> str:
        return _ENDPOINTS[self.market][name]

    async def _send(
        self,
        endpoint: str,
        params: Mapping[str, str | int],
        weight: int,
        also: Mapping[str, int] | None,
        deadline: float,
    ) -> Reply:
        await self._pacer.acquire(weight, also=also, max_wait_s=max(0.0, deadline - self._monotonic()))
        self.requests += 1
        self.weight += weight
        reply = await self._wire.get(endpoint, params)
        if reply.used_weight is not None and endpoint not in _MISCOUNTED:
            self._pacer.observe(reply.used_weight, reply.sent_s)
        return reply

    async def _halted(self, reply: Reply, verdict: Verdict, about: str, deadline: float) -> bool:
        """Stop everybody if the answer asks for it, and say whether the call may try again once the halt is over."""
        if verdict.act is Act.BANNED:
            halt = await self._pacer.banned(
                retry_after_s=reply.retry_after_s, until_ms=verdict.until_ms, date_ms=_date_ms(reply)
            )
        elif verdict.act is Act.LIMITED:
            halt = await self._pacer.limited(retry_after_s=reply.retry_after_s)
        elif verdict.act is Act.FIREWALL:
            halt = await self._pacer.firewalled()
        else:
            return False
        left_s = halt.left_ms / 1000
        if self._monotonic() + left_s <= deadline:
            return True
        text = f"{self._name} {about}: {verdict.why}; try again in {left_s:.0f} s" + (
            f", at {iso(halt.until_ms // 1000 * 1000)}" if halt.until_ms else ""
        )
        if verdict.act is Act.FIREWALL:
            raise RegionRefused(f"{text}, or from another network")
        raise (Banned if verdict.act is Act.BANNED else RateLimited)(text, retry_after_s=left_s)

    def _give_up(self, verdict: Verdict, about: str, failures: list[str]) -> None:
        if verdict.act is Act.REFUSED:
            raise RegionRefused(
                f"{self._name} at {self._host}: {verdict.why}; use another network, or the replica (generated data)"
            )
        if verdict.act is Act.BAD_SYMBOL:
            raise BadSymbol(
                f"{self._name} {about}: the exchange does not know this symbol (code -1121); "
                "it is delisted, misspelt or of the other market"
            )
        if verdict.act is Act.FAIL:
            raise ExchangeError(f"{self._name} {about}: {verdict.why}; trying again would not help")

    async def _read_clock_once(self) -> None:
        async with self._sampling:
            if self.clock.stale:
                await self.server_time()


def _date_ms(reply: Reply) -> int | None:
    """The answer's own date, to the second."""
    try:
        return to_ms(parsedate_to_datetime(reply.headers["date"]))
    except (KeyError, ValueError):
        return None
