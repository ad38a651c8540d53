"""Which instruments are streamed, and following that: the list, the listings, a signal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gapless.domain.instrument import Instrument, Market
from gapless.errors import ConfigError, RegionRefused, Unreachable
from streamer.operations.request import StreamRequest
from streamer.operations.settings import OperationsSettings
from streamer.operations.shards import Shard
from streamer.operations.universe import Universe, choose
from tests.streamer.operations.samples import instrument, until, write

QUICK = OperationsSettings(follow_s=0.005, listings_s=0.02)
ONLY_THE_FILE = OperationsSettings(follow_s=0.005, listings_s=3_600)
SLOW = OperationsSettings(follow_s=3_600, listings_s=3_600)


class Exchange:
    """Lists what it is told to."""

    def __init__(self, **listed: Sequence[Instrument]) -> None:
        self.listed = {Market(name): list(found) for name, found in listed.items()}
        self.away = False
        self.asked = 0

    async def __call__(self, market: Market) -> Sequence[Instrument]:
        self.asked += 1
        if self.away:
            raise Unreachable("the exchange is away")
        return list(self.listed[market])


class Followed:
    """A running universe and what came of it."""

    def __init__(self, exchange: Exchange, file: Path, request: StreamRequest, settings: OperationsSettings) -> None:
        self.said: list[str] = []
        self.changes: list[list[str]] = []
        self.reload = asyncio.Event()
        self.universe = Universe(request, file, exchange, settings, say=self.said.append)

    async def __aenter__(self) -> Followed:
        await self.universe.first()
        self._task = asyncio.create_task(self.universe.run(self._changed, self.reload))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _changed(self, instruments: Sequence[Instrument]) -> None:
        self.changes.append([each.symbol for each in instruments])


def listed(*symbols: str) -> str:
    return "markets:\n  um: [" + ", ".join(f"'{symbol}'" for symbol in symbols) + "]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "symbols.yaml"
    write(found, listed("BTC/USDT:USDT"))
    return found


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(um=[instrument("BTC"), instrument("ETH"), instrument("SOL", status="SETTLING")])


def test_only_what_trades_is_streamed_and_what_was_named_is_told() -> None:
    um = [instrument("BTC"), instrument("SOL", status="SETTLING"), instrument("ADA", status="BREAK")]
    choice = choose({Market.UM: "all:USDT,SOL/USDT:USDT,NO/USDT:USDT"}, {Market.UM: um}, Shard())
    assert [each.symbol for each in choice.instruments] == ["BTC/USDT:USDT"]
    assert choice.unknown == ("NO/USDT:USDT",)
    assert choice.halted == ("SOL/USDT:USDT",), "named by itself; ADA was only one of all"


def test_two_shards_cover_each_symbol_once() -> None:
    um = [instrument(f"C{number}") for number in range(50)]
    shares = [choose({Market.UM: "all"}, {Market.UM: um}, Shard(n, 2)).instruments for n in range(2)]
    assert sorted(each.symbol for share in shares for each in share) == sorted(each.symbol for each in um)
    assert all(shares)


async def test_names_of_the_command_line_that_nothing_answers_to_are_an_error(exchange: Exchange, file: Path) -> None:
    universe = Universe(StreamRequest(symbols="BTC/USDT:USDT,BCT/USDT:USDT"), file, exchange, SLOW, say=print)
    with pytest.raises(ConfigError, match="does not know BCT/USDT:USDT"):
        await universe.first()


async def test_names_of_the_file_that_nothing_answers_to_are_left_out_and_told(exchange: Exchange, file: Path) -> None:
    write(file, listed("BTC/USDT:USDT", "GONE/USDT:USDT", "SOL/USDT:USDT"))
    said: list[str] = []
    found = await Universe(StreamRequest(), file, exchange, SLOW, say=said.append).first()
    assert [each.symbol for each in found] == ["BTC/USDT:USDT"]
    assert said == [
        "left out, the exchange does not know GONE/USDT:USDT",
        "left out, these do not trade now: SOL/USDT:USDT",
    ]


async def test_nothing_that_trades_is_an_error_but_an_empty_share_is_none(exchange: Exchange, file: Path) -> None:
    with pytest.raises(ConfigError, match="none of the symbols trades"):
        await Universe(StreamRequest(symbols="SOL/USDT:USDT"), file, exchange, SLOW, say=print).first()
    shares = [
        await Universe(StreamRequest(shard=Shard(n, 9)), file, exchange, SLOW, say=print).first() for n in range(9)
    ]
    assert sum(map(len, shares)) == 1


async def test_a_market_of_the_list_can_be_chosen(exchange: Exchange, file: Path) -> None:
    exchange.listed[Market.SPOT] = [instrument("BTC", Market.SPOT)]
    write(file, "markets:\n  spot: [BTC/USDT]\n  um: all\n")
    for market, wanted in ((Market.SPOT, ["BTC/USDT"]), (Market.UM, ["BTC/USDT:USDT", "ETH/USDT:USDT"])):
        found = await Universe(StreamRequest(market=market), file, exchange, SLOW, say=print).first()
        assert [each.symbol for each in found] == wanted


async def test_a_change_of_the_file_is_taken_while_it_runs(exchange: Exchange, file: Path) -> None:
    async with Followed(exchange, file, StreamRequest(), ONLY_THE_FILE) as followed:
        write(file, listed("BTC/USDT:USDT", "ETH/USDT:USDT"))
        await until(lambda: followed.changes)
        assert followed.changes == [["BTC/USDT:USDT", "ETH/USDT:USDT"]]
        assert followed.said == ["2 instruments: added 1 (ETH/USDT:USDT)"]


@pytest.mark.parametrize("wrong", ["markets: [", "markets: {moon: [BTC]}", "", "markets: {um: [SOL/USDT:USDT]}"])
async def test_a_wrong_file_changes_nothing_and_is_told_once(exchange: Exchange, file: Path, wrong: str) -> None:
    async with Followed(exchange, file, StreamRequest(), QUICK) as followed:
        write(file, wrong)
        await until(lambda: followed.said)
        asked = exchange.asked
        followed.reload.set()
        await until(lambda: not followed.reload.is_set())
        assert len(followed.said) == 1
        assert followed.said[0].startswith("the instruments stay as they are: ")
        assert not followed.changes
        assert [each.symbol for each in followed.universe.instruments] == ["BTC/USDT:USDT"]
        write(file, listed("ETH/USDT:USDT"))
        await until(lambda: followed.changes)
        assert followed.changes == [["ETH/USDT:USDT"]]
        assert exchange.asked > asked


async def test_a_new_listing_of_all_is_taken_and_what_stops_trading_goes(exchange: Exchange, file: Path) -> None:
    async with Followed(exchange, file, StreamRequest(symbols="all", market=Market.UM), QUICK) as followed:
        exchange.listed[Market.UM] = [instrument("BTC", status="SETTLING"), instrument("ETH"), instrument("NEW")]
        await until(lambda: followed.changes)
        assert followed.changes == [["ETH/USDT:USDT", "NEW/USDT:USDT"]]
        assert followed.said == ["2 instruments: added 1 (NEW/USDT:USDT); removed 1 (BTC/USDT:USDT)"]


async def test_an_exchange_that_is_away_changes_nothing_and_is_asked_again(exchange: Exchange, file: Path) -> None:
    async with Followed(exchange, file, StreamRequest(symbols="all", market=Market.UM), QUICK) as followed:
        exchange.away = True
        asked = exchange.asked
        await until(lambda: exchange.asked > asked + 2)
        assert not followed.changes
        assert followed.said == ["the instruments stay as they are: the exchange is away"]
        exchange.away = False
        exchange.listed[Market.UM].append(instrument("NEW"))
        await until(lambda: followed.changes)


async def test_an_exchange_that_is_away_at_the_start_is_waited_for_and_told_once(
    exchange: Exchange, file: Path
) -> None:
    exchange.away = True
    said: list[str] = []
    hurried = OperationsSettings(first_pause_s=0.001, longest_pause_s=0.002)
    task = asyncio.create_task(Universe(StreamRequest(), file, exchange, hurried, say=said.append).first())
    await until(lambda: exchange.asked > 4)
    exchange.away = False
    assert [each.symbol for each in await task] == ["BTC/USDT:USDT"]
    assert said == ["the exchange does not say what it lists, asking again: the exchange is away"]


async def test_an_exchange_that_refuses_the_address_is_an_error(file: Path) -> None:
    async def refuses(market: Market) -> Sequence[Instrument]:
        raise RegionRefused("not from here")

    with pytest.raises(RegionRefused):
        await Universe(StreamRequest(), file, refuses, SLOW, say=print).first()


async def test_a_signal_reads_list_and_listings_at_once(exchange: Exchange, file: Path) -> None:
    async with Followed(exchange, file, StreamRequest(), SLOW) as followed:
        write(file, listed("ETH/USDT:USDT"))
        followed.reload.set()
        await until(lambda: followed.changes)
        assert not followed.reload.is_set()


async def test_a_file_that_is_swapped_is_not_missed(exchange: Exchange, file: Path) -> None:
    async with Followed(exchange, file, StreamRequest(), ONLY_THE_FILE) as followed:
        write(file, listed("ETH/USDT:USDT"), swapped=True)
        await until(lambda: followed.changes)
        assert followed.changes == [["ETH/USDT:USDT"]]
