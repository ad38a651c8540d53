"""Drawn bars against an answer, and what is asked for together."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.schema import OHLCV_VALUES
from gapless.domain.window import iso, parse_time
from gapless.exchanges.binance.paging import kline_weight
from gapless.exchanges.binance.payloads import KLINES
from gapless.exchanges.binance.rows import Rejected
from gapless.pipeline.audit.compare import compare_bars, plan_requests
from gapless.pipeline.audit.draw import DRAWN
from tests.bars import bars

BTC = "BTC/USDT:USDT"
START = parse_time("2026-11-02")
MINUTE = 60_000
LATER = START + 100 * MINUTE
SERIES = bars(BTC, "1m", START, 20)


def drawn(table: pa.Table = SERIES, store: str = "mysql") -> pa.Table:
    receipt = pa.array([7 if store == "mysql" else None] * table.num_rows, pa.uint64())
    stored = table.append_column("receipt_id", receipt)
    return stored.append_column("store", pa.array([store] * table.num_rows, pa.string())).cast(DRAWN)


def answer(table: pa.Table = SERIES) -> pa.Table:
    closes = pa.array(table["ts"].cast(pa.int64()).to_numpy() + MINUTE - 1, pa.int64())
    return table.append_column("close_time", closes.cast(KLINES.field("close_time").type)).cast(KLINES)


def changed(table: pa.Table, row: int, name: str, value: Any) -> pa.Table:
    values = table[name].to_pylist()
    values[row] = value
    place = table.schema.names.index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def test_what_is_as_the_exchange_has_it_is_no_mismatch() -> None:
    assert compare_bars(drawn(), answer(), [], LATER) == []
    some = SERIES.take([2, 5, 19])
    assert compare_bars(drawn(some), answer(), [], LATER) == [], "an answer may hold more than is asked"


@pytest.mark.parametrize("name", OHLCV_VALUES)
def test_the_last_digit_of_every_value_counts(name: str) -> None:
    old = SERIES[name][4].as_py()
    other = old + 1 if name == "trades" else old + Decimal("0.00000001")
    (found,) = compare_bars(drawn(changed(SERIES, 4, name, other)), answer(), [], LATER)
    text = str if name == "trades" else "{:.8f}".format
    assert (found.symbol, found.interval, found.ts) == (BTC, "1m", iso(START + 4 * MINUTE))
    assert (found.fields, found.stored, found.exchange) == ((name,), {name: text(other)}, {name: text(old)})
    assert (found.store, found.source, found.receipt_id) == ("mysql", "rest", 7)


def test_a_close_time_that_does_not_follow_from_the_interval_is_a_mismatch() -> None:
    theirs = answer()
    close = theirs["close_time"][3].as_py()
    theirs = changed(theirs, 3, "close_time", close.replace(second=58))
    (found,) = compare_bars(drawn(), theirs, [], LATER)
    assert found.fields == ("close_time",)
    assert (found.stored, found.exchange) == (
        {"close_time": "2026-11-02T00:03:59.999000Z"},
        {"close_time": "2026-11-02T00:03:58.999000Z"},
    )


def test_several_fields_are_one_mismatch() -> None:
    other = changed(changed(SERIES, 4, "trades", 10**6), 4, "high", Decimal(1))
    (found,) = compare_bars(drawn(other), answer(), [], LATER)
    assert found.fields == ("high", "trades")


def test_a_bar_that_the_exchange_does_not_have_is_a_mismatch_with_that_reason() -> None:
    theirs = answer(SERIES.take([0, 1, 3]))
    (found,) = compare_bars(drawn(SERIES.slice(1, 2), "lake"), theirs, [], LATER)
    assert (found.ts, found.fields, found.exchange) == (iso(START + 2 * MINUTE), ("open_time",), None)
    assert found.reason == "the exchange has no such bar"
    assert (found.store, found.receipt_id) == ("lake", None)
    assert set(found.stored) == {"open_time", *OHLCV_VALUES}


def test_an_empty_answer_denies_all() -> None:
    assert len(compare_bars(drawn(), KLINES.empty_table(), [], LATER)) == SERIES.num_rows


def test_a_bar_of_the_exchange_that_cannot_be_held_exactly_is_a_mismatch_that_shows_it() -> None:
    odd = Rejected(BTC, "1m", START + 2 * MINUTE, "precision", "[1,2]")
    (found,) = compare_bars(drawn(SERIES.slice(2, 1)), answer(SERIES.slice(0, 2)), [odd], LATER)
    assert found.exchange == {"row": "[1,2]"}
    assert "precision" in found.reason


def test_a_stored_bar_that_is_not_closed_by_the_exchange_s_clock_is_a_mismatch() -> None:
    now = START + 20 * MINUTE - 1
    (found,) = compare_bars(drawn(), answer(), [], now)
    assert (found.ts, found.fields) == (iso(START + 19 * MINUTE), ("close_time",))
    assert found.reason == "the exchange's bar is not closed yet"
    assert compare_bars(drawn(), answer(), [], now + 1) == []


def test_neighbours_share_a_request_and_strangers_do_not() -> None:
    near, far = [0, MINUTE * 98], [0, MINUTE * 600]
    assert plan_requests(Market.UM, near, MINUTE) == [range(0, 99 * MINUTE, MINUTE)]
    assert len(plan_requests(Market.UM, far, MINUTE)) == 2
    assert len(plan_requests(Market.SPOT, far, MINUTE)) == 1, "spot charges 2 for any page up to 1000"
    assert plan_requests(Market.UM, [0], MINUTE) == [range(0, MINUTE, MINUTE)]
    assert plan_requests(Market.UM, [], MINUTE) == []


def test_two_requests_of_one_are_one_of_two() -> None:
    assert len(plan_requests(Market.UM, [0, 300 * MINUTE], MINUTE)) == 1, "as dear, and one trip less"


def weight_of(market: Market, plan: list[range]) -> int:
    return sum(kline_weight(market, len(each)) for each in plan)


def cheapest(market: Market, opens: list[int]) -> int:
    """The least weight of all ways to cut."""
    if not opens:
        return 0
    most = 1000 if market is Market.SPOT else 499
    ends = [n for n in range(1, len(opens) + 1) if opens[n - 1] - opens[0] < most]
    return min(kline_weight(market, opens[n - 1] - opens[0] + 1) + cheapest(market, opens[n:]) for n in ends)


@given(
    market=st.sampled_from(Market),
    opens=st.lists(st.integers(0, 2500), min_size=1, max_size=9, unique=True).map(sorted),
)
def test_no_way_of_asking_is_cheaper(market: Market, opens: list[int]) -> None:
    plan = plan_requests(market, opens, 1)
    assert [at for each in plan for at in opens if at in each] == opens
    assert all(len(each) <= (1000 if market is Market.SPOT else 499) for each in plan)
    assert all(before.stop <= after.start for before, after in pairwise(plan))
    assert weight_of(market, plan) == cheapest(market, opens)


def test_a_dense_stretch_is_asked_for_in_whole_pages() -> None:
    opens = np.arange(0, 998, dtype=np.int64).tolist()
    assert [len(each) for each in plan_requests(Market.UM, opens, 1)] == [499, 499]
