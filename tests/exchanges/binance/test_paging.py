"""Pages cover each open time once, can never be cut short, and cost the least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.exchanges.binance.paging import kline_weight, plan_pages


@given(st.sampled_from(Market), st.sampled_from(Interval), st.integers(0, 3_000), st.integers(0, 10**6))
def test_pages_ask_for_each_open_time_exactly_once(market: Market, interval: Interval, bars: int, first: int) -> None:
    start = first * interval.ms
    opens = range(start, start + bars * interval.ms, interval.ms)
    asked = [t for page in plan_pages(market, opens) for t in range(page.start_ms, page.end_ms + 1, interval.ms)]
    assert asked == list(opens)
    for page in plan_pages(market, opens):
        assert page.end_ms == page.start_ms + page.limit * interval.ms - 1
        assert page.weight == kline_weight(market, page.limit)


@pytest.mark.parametrize(
    ("limit", "um"), [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_weights_are_the_exchanges(limit: int, um: int) -> None:
    assert kline_weight(Market.UM, limit) == um
    assert kline_weight(Market.SPOT, limit) == 2


def test_a_year_of_minutes_costs_what_the_reference_says() -> None:
    year = range(0, 365 * 86_400_000, 60_000)
    um = list(plan_pages(Market.UM, year))
    assert (len(um), sum(page.weight for page in um)) == (1054, 2108)
    spot = list(plan_pages(Market.SPOT, year))
    assert (len(spot), sum(page.weight for page in spot)) == (526, 1052)
