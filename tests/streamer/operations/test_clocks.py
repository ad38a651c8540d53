"""The loop's lateness and the exchange's clock."""

from __future__ import annotations

import asyncio
import time

from gapless.domain.instrument import Market
from gapless.errors import Unreachable
from gapless.exchanges.binance.clock import ExchangeClock, TimeSample
from streamer.operations.clocks import ClockWatch, LoopWatch, best_offset_ms
from tests.streamer.operations.samples import until

BASE_MS = 1_790_000_000_000


async def test_a_loop_that_stands_still_is_measured_and_told() -> None:
    stalls: list[float] = []
    watch = LoopWatch(stall_s=0.2, on_stall=stalls.append)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    time.sleep(0.35)  # noqa: ASYNC251 - standing still is what is measured
    await until(lambda: stalls)
    assert watch.turning
    assert 200 <= watch.lag_ms < 5_000
    assert stalls[0] >= 0.2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Rest:
    """A market whose clock can be asked."""

    def __init__(self) -> None:
        self.clock = ExchangeClock()
        self.away = False
        self.asked = 0

    async def server_time(self) -> TimeSample:
        self.asked += 1
        if self.away:
            raise Unreachable("no answer")
        sample = TimeSample(BASE_MS, 1.0, 1.0, (BASE_MS + 250) / 1000)
        self.clock.take(sample)
        return sample


async def test_the_quickest_of_several_answers_counts() -> None:
    class Slow(Rest):
        async def server_time(self) -> TimeSample:
            self.asked += 1
            took_s = (0.08, 0.002, 0.03, 0.01)[self.asked - 1]
            late_ms = 40 if self.asked == 1 else 1  # its way there was long
            self.clock.take(TimeSample(0, 0, 0, 0))
            return TimeSample(BASE_MS + late_ms, 1.0, 1.0 + took_s, (BASE_MS + 3) / 1000 + took_s)

    rest = Slow()
    assert await best_offset_ms(rest) == 3
    assert rest.clock.host_offset_ms == 3, "and the clock goes by it"


async def test_the_offset_is_renewed_and_a_market_that_is_away_is_told_once() -> None:
    spot, um = Rest(), Rest()
    um.away = True
    offsets: list[tuple[Market, int]] = []
    said: list[str] = []
    rests = {Market.SPOT: spot, Market.UM: um}
    watch = ClockWatch(rests, 0.001, on_offset=lambda *each: offsets.append(each), say=said.append)
    task = asyncio.create_task(watch.run())
    await until(lambda: um.asked >= 3)
    um.away = False
    await until(lambda: (Market.UM, 250) in offsets)
    assert offsets[0] == (Market.SPOT, 250)
    assert said == ["the clock of um cannot be read, the last offset stays: no answer"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
