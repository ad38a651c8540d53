"""The universe: what a market lists now, into the books, and whose data it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from gapless.domain.instrument import Instrument, Market
from gapless.exchanges.binance.clock import ExchangeClock
from gapless.exchanges.binance.symbols import ExchangeInfo
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql.instruments import record_listing
from gapless.storage.mysql.origin import claim_origin


@dataclass(frozen=True, slots=True)
class Listing:
    """What is known of a market after asking it.

    Attributes:
        instruments: listed now or ever before, delisted ones included.
        clock: the exchange's clock, just read.
        origin: whose data these are: `binance`, or `replica:<seed>` when they are generated.
    """

    instruments: tuple[Instrument, ...]
    clock: ExchangeClock
    origin: str


class InstrumentsReceipt(msgspec.Struct, frozen=True):
    """What a refresh of the instruments found, by market."""

    listed: dict[str, int]
    trading: dict[str, int]
    delisted: dict[str, int]
    origin: str


def refresh_instruments(rt: Runtime) -> InstrumentsReceipt:
    """Read exchangeInfo of both markets into `instrument` and `instrument_life`.

    Raises:
        OriginMismatch: the exchange is not the one this installation's data came from; nothing was stored.
        ExchangeError: a market did not answer.
    """
    listed, trading, delisted, origin = {}, {}, {}, ""
    for market in Market:
        info, clock = asyncio.run(_ask(rt, market))
        origin = _claim(rt, info)
        known = record_listing(rt.db, EXCHANGE, market, info.instruments, now_ms=clock.now_ms())
        listed[str(market)] = len(info.instruments)
        trading[str(market)] = sum(instrument.trading for instrument in info.instruments)
        delisted[str(market)] = sum(instrument.delisted_ms is not None for instrument in known)
    return InstrumentsReceipt(listed, trading, delisted, origin)


def refresh_market(rt: Runtime, market: Market) -> Listing:
    """Ask one market what it lists, keep the books up to date with it, and read them back.

    Costs 1 weight on USD-M and 20 on spot, little enough to do before every run: a run on stale instruments would miss
    a new listing, and a run against another origin's exchange must not begin.

    Raises:
        OriginMismatch: see `refresh_instruments`.
    """
    info, clock = asyncio.run(_ask(rt, market))
    origin = _claim(rt, info)
    known = record_listing(rt.db, EXCHANGE, market, info.instruments, now_ms=clock.now_ms())
    return Listing(tuple(known), clock, origin)


async def _ask(rt: Runtime, market: Market) -> tuple[ExchangeInfo, ExchangeClock]:
    async with rt.exchange(market) as rest:
        return await rest.instruments(), rest.clock


def _claim(rt: Runtime, info: ExchangeInfo) -> str:
    claim_origin(rt.db, info.origin)
    rt.lake.claim_origin(info.origin)
    return info.origin
