"""Closed bars asked of REST by their open times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gapless.domain.instrument import Instrument
from gapless.domain.interval import Interval
from gapless.domain.source import Source
from gapless.errors import ExchangeError
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.rows import open_time, split_rows
from streamer.bars.items import BarItem

_PAGE = 499
"""Bars a request, at most: weight 2 on both markets."""
_TRADES = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What REST said of some bars.

    Attributes:
        items: those it has, for the store.
        trades: by open time how many trades a bar had; None: the exchange has no such bar, as yet. Bars that are not
            over by the exchange's clock are not in it.
    """

    items: tuple[BarItem, ...]
    trades: dict[int, int | None]


async def ask_bars(rest: BinanceRest, instrument: Instrument, interval: Interval, opens: Sequence[int]) -> Answer:
    """The bars that open at these times, ascending; what lies between two of them may be read and let go.

    Raises:
        ExchangeError: as `BinanceRest.klines`.
    """
    found: dict[int, bytes] = {}
    asked: list[int] = []
    odd: list[bytes] = []
    left = list(opens)
    while left:
        now_ms = rest.clock.now_ms()  # before the answer: what was over then is closed in it
        page = [at for at in left if at < left[0] + _PAGE * interval.ms]
        left = left[len(page) :]
        page = [at for at in page if at + interval.ms <= now_ms]
        if not page:
            continue
        limit = (page[-1] - page[0]) // interval.ms + 1
        body = await rest.klines(instrument.raw_symbol, interval, page[0], page[-1], limit)
        rows = split_rows(body.encode())
        if rows is None:
            raise ExchangeError(f"binance {instrument.symbol} {interval}: the answer is no list of bars")
        asked += page
        for row in rows:
            at = open_time(row)
            if at is None:
                odd.append(row)
            else:
                found[at] = row
    wanted = {at: found[at] for at in asked if at in found}
    received_ns = time.time_ns()
    items = [
        BarItem(
            instrument.market, instrument.symbol, interval, at, row.decode(errors="replace"), Source.REST, received_ns
        )
        for at, row in (*wanted.items(), *((-1, row) for row in odd))
    ]
    return Answer(tuple(items), {at: _trades(wanted[at]) if at in wanted else None for at in asked})


def _trades(row: bytes) -> int:
    """How many trades a bar had; 0 where the row does not say: then it goes to quarantine, and is no loss to tell."""
    try:
        return msgspec.convert(msgspec.json.decode(row)[_TRADES], int)
    except (msgspec.DecodeError, IndexError, TypeError):
        return 0
