"""Bars as rows: exact, each key once a round, refused with a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.schema import OHLCV, Source
from gapless.domain.window import HOUR_MS
from gapless.errors import ValidationError
from streamer.bars.batches import bar_rows, batch_key, liquidation_rows, rounds, window_of
from streamer.bars.items import BarItem, Item, bar_of_stream, items_of, lines_of, liquidation_of_stream
from tests.streamer.bars.making import COIN, OPEN_MS, force_order, kline

_DIGITS = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,8})?", fullmatch=True)


def bar(number: int = 0, *, symbol: str = COIN, source: Source = Source.STREAM, **fields: Any) -> BarItem:
    item = bar_of_stream(symbol, Market.UM, kline(number, **fields).k, 7)
    return BarItem(item.market, symbol, item.interval, item.open_ms, item.row, source, item.received_ns)


@given(low=_DIGITS, more=st.lists(_DIGITS, min_size=3, max_size=3), volume=_DIGITS, quote=_DIGITS)
def test_a_streams_bar_is_stored_to_the_last_digit(low: str, more: list[str], volume: str, quote: str) -> None:
    prices = sorted([low, *more], key=Decimal)
    if Decimal(prices[0]) == 0:
        return
    fields = {
        "l": prices[0],
        "o": prices[1],
        "c": prices[2],
        "h": prices[3],
        "v": volume,
        "q": quote,
        "V": "0",
        "Q": "0",
    }
    rows = bar_rows([bar(**fields)])
    [row] = rows.table.to_pylist()
    assert rows.refused == ()
    assert rows.table.schema.names == OHLCV.names
    values = [row[name] for name in ("low", "open", "close", "high", "volume", "quote_volume")]
    assert values == [Decimal(text) for text in (*prices, volume, quote)]
    assert (row["symbol"], row["interval"], row["trades"], row["source"]) == (COIN, "1m", 7, Source.STREAM)
    assert int(row["ts"].timestamp() * 1000) == OPEN_MS


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"h": "99.8"}, "ohlc"),
        ({"o": "0"}, "price"),
        ({"v": "1.123456789"}, "precision"),
        ({"V": "13"}, "taker"),
        ({"c": "abc"}, "type"),
        ({"t": OPEN_MS + 1}, "alignment"),
        ({"T": OPEN_MS + 60_000}, "close_time"),
        ({"t": 10**17}, "time"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_text_and_the_others_are_taken(
    fields: dict[str, Any], reason: str
) -> None:
    broken = bar(1, **fields)
    rows = bar_rows([bar(0), broken, bar(2), bar(1, symbol="ETH/USDT:USDT")])
    assert rows.table.num_rows == 3
    [refused] = rows.refused
    assert (refused.reason, refused.payload, refused.symbol, refused.dataset) == (reason, broken.row, COIN, "ohlcv")


def test_a_row_whose_time_cannot_be_read_is_refused() -> None:
    rows = bar_rows([BarItem(Market.UM, COIN, "1m", -1, '["x"]', Source.REST, 7), bar()])
    assert rows.table.num_rows == 1
    assert [(each.reason, each.ts_ms, each.payload) for each in rows.refused] == [("columns", None, '["x"]')]


items = st.lists(
    st.builds(
        bar,
        st.integers(0, 3),
        symbol=st.sampled_from(["BTC/USDT:USDT", COIN]),
        source=st.sampled_from([Source.STREAM, Source.REST]),
        c=st.sampled_from(["100", "100.1"]),
    ),
    max_size=12,
)


@given(items)
def test_rounds_hold_each_key_once_and_every_version_in_the_order_it_came(offered: list[BarItem]) -> None:
    made = list(rounds(offered))
    for round_ in made:
        keys = [item.key for item in round_]
        assert keys == sorted(set(keys))
    for key in {item.key for item in offered}:
        versions = [item for item in offered if item.key == key]
        changes = [
            b
            for a, b in zip([None, *versions], versions, strict=False)
            if a is None or (a.row, a.source) != (b.row, b.source)
        ]
        loaded = [item for round_ in made for item in round_ if item.key == key]
        assert (loaded[0].row, loaded[0].source) == (changes[0].row, changes[0].source)
        assert {(item.row, item.source) for item in loaded} == {(item.row, item.source) for item in versions}
        assert (loaded[-1].row, loaded[-1].source) == (changes[-1].row, changes[-1].source)


@given(items, st.lists(st.builds(force_order, st.integers(0, 3)), max_size=3))
def test_what_lies_on_disk_is_read_as_it_was(bars: list[BarItem], orders: list[Any]) -> None:
    offered: list[Item] = [*bars, *(liquidation_of_stream(COIN, order, 9) for order in orders)]
    assert list(items_of(lines_of(offered), "here")) == offered


def test_a_line_that_is_no_item_is_named() -> None:
    with pytest.raises(ValidationError, match="here: line 2 is no bar and no liquidation"):
        list(items_of(lines_of([bar()]) + b'["b",1]\n', "here"))


def test_a_liquidation_is_a_row_and_one_of_another_name_is_refused() -> None:
    good = liquidation_of_stream(COIN, force_order(), 9_000_000)
    wrong = liquidation_of_stream(COIN, force_order(1, q="x"), 9)
    rows = liquidation_rows([good, wrong])
    [row] = rows.table.to_pylist()
    assert (row["side"], row["quantity"], row["price"], row["received_ns"]) == (
        "SELL", Decimal("0.014"), Decimal(9910), 9_000_000,
    )  # fmt: skip
    assert [(each.reason, each.dataset) for each in rows.refused] == [("type", "liquidation")]


def test_the_window_of_a_load_reaches_from_the_first_open_to_the_last_close() -> None:
    rows = bar_rows([bar(0), bar(5), bar(0, symbol="BTC/USDT:USDT", i="5m", T=OPEN_MS + 299_999)])
    window = window_of(rows.table)
    assert (window.start_ms, window.end_ms) == (OPEN_MS, OPEN_MS + 360_000)
    assert window_of(rows.table.slice(0, 0)).start_ms == 0


def test_loads_of_an_hour_are_one_piece_of_work() -> None:
    keys = {batch_key("ohlcv", Market.UM, "0-1", at) for at in (OPEN_MS, OPEN_MS + HOUR_MS - 1)}
    others = {
        batch_key("ohlcv", Market.UM, "0-1", OPEN_MS + HOUR_MS),
        batch_key("ohlcv", Market.SPOT, "0-1", OPEN_MS),
        batch_key("ohlcv", Market.UM, "1-2", OPEN_MS),
    }
    assert len(keys) == 1
    assert len(others | keys) == 4
    assert all(len(key) == 16 for key in keys)
