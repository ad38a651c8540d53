"""Who lived when: first bars from REST for markets that name no listing dates, the dead from the archive's listing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gapless.domain.instrument import Instrument, Market, market_of, unified_symbol
from gapless.domain.interval import Interval
from gapless.domain.window import Window, from_ms, to_ms
from gapless.errors import BadSymbol
from gapless.exchanges.binance.vision.archive import Archive
from gapless.exchanges.binance.vision.klines import BrokenFile, parse_klines_zip
from gapless.exchanges.binance.vision.objects import KLINES, ArchiveObject, day_object, month_object
from gapless.pipeline.backfill.archive import open_archive
from gapless.pipeline.backfill.outcome import open_times
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import learn_lifetime, record_archived

OPENING_MS = to_ms(from_ms(0).replace(year=2017, month=7))
"""Before the exchange's first bar."""

_AT_ONCE = 64


async def learn_listings(rt: Runtime, market: Market, chosen: Sequence[Instrument]) -> None:
    """Spot names no listing dates: the first bar that the exchange has is one. Asked once for each symbol, ever."""
    unknown = [one for one in chosen if one.listed_ms is None and one.delisted_ms is None]
    if not unknown:
        return
    rt.say(f"asking {market} for the first bar of {len(unknown)} symbols")
    async with rt.exchange(market) as rest:

        async def first_ms(instrument: Instrument) -> tuple[Instrument, int | None]:
            try:
                now_ms = rest.clock.now_ms()
                body = await rest.klines(instrument.raw_symbol, Interval.M1, OPENING_MS, now_ms, 1)
            except BadSymbol:
                return instrument, None
            text = body.strip().removeprefix("[[").partition(",")[0]
            return instrument, int(text) if text.isdigit() else None

        for at in range(0, len(unknown), 64):
            answers = await asyncio.gather(*(first_ms(one) for one in unknown[at : at + 64]))
            for instrument, listed_ms in answers:
                if listed_ms is not None:
                    learn_lifetime(rt.db, EXCHANGE, instrument.symbol, listed_ms=listed_ms)


async def find_the_dead(rt: Runtime, market: Market, known: Sequence[Instrument]) -> None:
    """Enter the symbols that only the archive's listing knows: without them `all` would be the survivors.

    Each is looked at once, ever: its first and its last listed file of 1m bars tell its life to the minute. A symbol
    whose files cannot be read is entered without dates. Contracts with an expiry (`BTCUSDT_240329`) are left out.
    """
    async with open_archive(rt) as archive:
        names = await archive.symbols(market, KLINES)
        listed = {one.raw_symbol for one in known}
        dead, _ = guess_instruments([name for name in names if name not in listed and "_" not in name], market, known)
        for at in range(0, len(dead), _AT_ONCE):
            some = dead[at : at + _AT_ONCE]
            lives = await asyncio.gather(*(_life(archive, one) for one in some))
            record_archived(rt.db, some)
            for one, life in zip(some, lives, strict=True):
                if life is not None:
                    learn_lifetime(rt.db, EXCHANGE, one.symbol, listed_ms=life.start_ms, delisted_ms=life.end_ms)


async def _life(archive: Archive, one: Instrument) -> Window | None:
    """From the first row of its first file to the end of the last row of its last."""
    market, raw, minute = one.market, one.raw_symbol, Interval.M1
    days = sorted(await archive.periods(market, KLINES, raw, minute, "day"))
    objects = [day_object(market, KLINES, raw, minute, day) for day in (days[:1] + days[-1:])]
    if not objects:
        months = sorted(await archive.periods(market, KLINES, raw, minute, "month"))
        objects = [month_object(market, KLINES, raw, minute, month) for month in (months[:1] + months[-1:])]
    edges = [span for obj in objects if (span := await _span(archive, obj, one.symbol)) is not None]
    return Window(edges[0][0], edges[-1][1]) if len(edges) == 2 and edges[0][0] < edges[-1][1] else None


async def _span(archive: Archive, obj: ArchiveObject, symbol: str) -> tuple[int, int] | None:
    download = await archive.fetch(obj)
    if download is None:
        return None
    try:
        times = open_times(parse_klines_zip(download.data, obj, exchange=EXCHANGE, symbol=symbol).bars)
    except BrokenFile:
        return None
    return (int(times[0]), int(times[-1]) + Interval.M1.ms) if len(times) else None


def guess_instruments(
    names: Sequence[str], market: Market, known: Sequence[Instrument]
) -> tuple[list[Instrument], list[str]]:
    """Instruments of names that the exchange no longer lists, and the names whose base and quote cannot be told."""
    quotes = sorted({one.quote for one in known}, key=len, reverse=True)
    found: list[Instrument] = []
    unnameable: list[str] = []
    for name in names:
        if market_of(name) is not None:
            base, _, rest = name.partition("/")
            quote = rest.partition(":")[0]
            found.append(Instrument(EXCHANGE, name, market, base + quote, base, quote, "UNKNOWN"))
            continue
        ending = next((quote for quote in quotes if name.endswith(quote) and name != quote), None)
        if ending is None:
            unnameable.append(name)
            continue
        base = name.removesuffix(ending)
        found.append(Instrument(EXCHANGE, unified_symbol(market, base, ending), market, name, base, ending, "UNKNOWN"))
    return found, unnameable
