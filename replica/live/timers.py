"""What happens by time: each timer knows when it is due next, and makes it happen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Protocol

from gapless.domain.instrument import Market
from replica.bars import INTERVAL_MS, Bars, render_rows
from replica.live.instrument import FAR_MS, LiveInstrument, Send
from replica.live.marks import Marks
from replica.live.messages import LiveMessage
from replica.live.path import MOVE_MS, mix

_KLINE_MS = {Market.SPOT: 2000, Market.UM: 250}
_MOST_BARS = 1500
_LEAST_APART_MS = 1000


class Timer(Protocol):
    """`due_ms`: when it is to be fired next; `FAR_MS` for never."""

    due_ms: int

    def arm(self, now_ms: int) -> None:
        """Starts anew from a moment: at first, after a leap of the clock, and when the pace changed."""

    def fire(self) -> None:
        """What is due happens; `due_ms` goes on."""


class TradeTimer:
    """The instrument's trades, each at its time."""

    def __init__(self, instrument: LiveInstrument) -> None:
        self._instrument = instrument
        self._next = 0
        self.due_ms = FAR_MS

    def arm(self, now_ms: int) -> None:
        tape = self._instrument.tape
        self._next = tape.last_id(now_ms) + 1
        self._schedule()

    def fire(self) -> None:
        instrument = self._instrument
        if not instrument.wants_trades and not instrument.book_awake(self.due_ms):
            self.due_ms = FAR_MS
            return
        closed_ms = instrument.closed_until(self.due_ms)
        if closed_ms == FAR_MS:
            instrument.tape.restart(self._next, self.due_ms, 0)
        elif closed_ms:
            instrument.tape.restart(self._next, closed_ms, instrument.activity.trades_per_s)
        else:
            instrument.trade(instrument.tape.trade(self._next))
            self._next += 1
        self._schedule()

    def _schedule(self) -> None:
        self.due_ms = min(self._instrument.tape.time_us(self._next) // 1000, FAR_MS)


class BookTimer:
    """The book's own changes."""

    def __init__(self, instrument: LiveInstrument) -> None:
        self._instrument = instrument
        self.due_ms = FAR_MS

    def arm(self, now_ms: int) -> None:
        instrument, period = self._instrument, self._instrument.activity.diff_ms
        if not period or not instrument.book_awake(now_ms):
            self.due_ms = FAR_MS
            return
        phase = instrument.path.phase_ms * max(1, period // MOVE_MS) % period
        self.due_ms = ((now_ms - phase) // period + 1) * period + phase

    def fire(self) -> None:
        at_ms = self.due_ms
        self._instrument.stir(at_ms)
        self.arm(at_ms)


class KlineTimer:
    """The bars of one interval: open ones at the market's pace, each closed one at its end."""

    def __init__(self, instrument: LiveInstrument, name: str, interval: str, send: Send) -> None:
        self._instrument, self._name, self._interval, self._send = instrument, name, interval, send
        self._step = INTERVAL_MS[interval]
        self._last: tuple[str | int, ...] = ()
        self.due_ms = self._told_ms = FAR_MS

    def arm(self, now_ms: int) -> None:
        # After a leap of the clock the bars that closed on the way are told, as far as they can be counted.
        if self._told_ms < now_ms:
            first_ms = max(self._told_ms // self._step + 1, now_ms // self._step - _MOST_BARS) * self._step
            for end_ms in range(first_ms, now_ms + 1, self._step):
                self._close(end_ms, now_ms)
        self._told_ms = now_ms
        self._schedule(now_ms)

    def fire(self) -> None:
        at_ms = self._told_ms = self.due_ms
        if at_ms % self._step == 0:
            self._close(at_ms, at_ms)
        else:
            instrument = self._instrument
            self._tell(instrument.market.open_bar(instrument.listing, self._step, at_ms), at_ms, closed=False)
        self._schedule(at_ms)

    def _schedule(self, now_ms: int) -> None:
        instrument = self._instrument
        period = instrument.activity.kline_ms or _KLINE_MS[instrument.listing.market]
        end_ms = (now_ms // self._step + 1) * self._step
        self.due_ms = min((now_ms // period + 1) * period, end_ms)

    def _close(self, end_ms: int, at_ms: int) -> None:
        instrument = self._instrument
        bars = instrument.market.bars(instrument.listing, self._step, end_ms - self._step, end_ms)
        self._tell(bars, at_ms, closed=True)

    def _tell(self, bars: Bars, at_ms: int, *, closed: bool) -> None:
        listing = self._instrument.listing
        if not len(bars):
            return
        trades = int(bars.trades[0])
        if listing.market is Market.UM and not trades:
            return  # USD-M sends what changed: a bar without a trade never closes on its stream
        row = tuple(json.loads(render_rows(bars, self._step, listing.scale)[0]))
        if listing.market is Market.UM and not closed and row == self._last:
            return
        self._last = row
        open_ms = int(bars.open_ms[0])
        ids = (open_ms, open_ms + trades - 1) if trades else (-1, -1)
        data = self._instrument.payloads.kline(at_ms, list(row), self._interval, ids, closed=closed)
        self._send(LiveMessage(listing.market, self._name, data, at_ms, listing.raw_symbol, "klines", open_ms, open_ms))


class MarkTimer:
    """Mark prices of one perpetual, or of all in one message."""

    def __init__(
        self, instruments: Callable[[], Iterable[LiveInstrument]], marks: Marks, name: str, period_ms: int, send: Send
    ) -> None:
        self._instruments, self._marks, self._name, self._period = instruments, marks, name, period_ms
        self._all = name.startswith("!")
        self._send = send
        self.due_ms = FAR_MS

    def arm(self, now_ms: int) -> None:
        self.due_ms = (now_ms // self._period + 1) * self._period

    def fire(self) -> None:
        at_ms, texts, symbol = self.due_ms, [], ""
        for instrument in self._instruments():
            listing = instrument.listing
            if listing.status(at_ms) != "TRADING":
                continue
            symbol = listing.raw_symbol
            mark = self._marks.mark(listing, instrument.path, at_ms)
            texts.append(instrument.payloads.mark_price(at_ms, *mark))
        if texts:
            data = f"[{','.join(texts)}]" if self._all else texts[0]
            symbol = "" if self._all else symbol
            self._send(LiveMessage(Market.UM, self._name, data.encode(), at_ms, symbol, "mark_price", at_ms, at_ms))
        self.arm(at_ms)


class LiquidationTimer:
    """Liquidations of one perpetual now and then, a second apart at least, to all who listen."""

    def __init__(self, instrument: LiveInstrument, send: Send) -> None:
        self._instrument, self._send = instrument, send
        self.names: list[str] = []
        self.due_ms = FAR_MS

    def arm(self, now_ms: int) -> None:
        rate = self._instrument.activity.liquidations_per_min
        if not rate:
            self.due_ms = FAR_MS
            return
        share = mix(self._instrument.path.phase_ms + 1, now_ms) % 2000
        self.due_ms = now_ms + max(_LEAST_APART_MS, round(60_000 / rate * share / 1000))

    def fire(self) -> None:
        at_ms, instrument = self.due_ms, self._instrument
        if not instrument.closed_until(at_ms):
            draw = mix(instrument.path.phase_ms + 2, at_ms)
            quantity = 3 + draw % (instrument.trade_unit * 4)
            data = instrument.payloads.force_order(
                at_ms, instrument.path.cell(at_ms), quantity, sold=bool(draw >> 40 & 1)
            )
            symbol = instrument.listing.raw_symbol
            for name in self.names:
                self._send(LiveMessage(Market.UM, name, data, at_ms, symbol, "liquidations", at_ms, at_ms))
        self.arm(at_ms)
