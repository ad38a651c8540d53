"""Shards: several processes share the symbols without ever speaking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from streamer.operations.shards import Shard, parse_shard


@given(st.integers(1, 64), st.sampled_from(Market), st.text(min_size=1, max_size=20))
def test_each_symbol_is_of_exactly_one_shard(of: int, market: Market, raw_symbol: str) -> None:
    assert sum(Shard(number, of).takes(market, raw_symbol) for number in range(of)) == 1


def test_shards_stay_the_same_over_versions_and_hosts() -> None:
    names = ("BTCUSDT", "ETHUSDT", "币安人生USDT", "1000PEPEUSDT")
    takers = [next(n for n in range(8) if Shard(n, 8).takes(Market.UM, name)) for name in names]
    assert takers == [3, 5, 3, 3], "a running set of shards would take symbols twice, or not at all, during an upgrade"


def test_shards_are_about_equal() -> None:
    counts = [sum(Shard(n, 4).takes(Market.UM, f"COIN{i}USDT") for i in range(600)) for n in range(4)]
    assert sum(counts) == 600
    assert min(counts) > 110


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/4", "0/0", "", "0/4/2", "0/99999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write 0/4"):
        parse_shard(text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert str(parse_shard(" 3/4 ")) == "3/4"
