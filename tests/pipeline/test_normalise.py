"""From payloads to canonical bars: what is taken, what is left alone, what is quarantined with its text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.schema import OHLCV, content_digest
from gapless.domain.window import HOUR_MS, Window
from gapless.pipeline.normalise import Page, normalise
from tests.bars import bars

HOUR = Window.of("2026-11-20T16:00", "2026-11-20T17:00")
LATER = HOUR.end_ms + 15_000
COIN = "币安人生/USDT:USDT"


def batch(*intervals: str, symbols: tuple[str, ...] = ("BTC/USDT:USDT",), window: Window = HOUR) -> Batch:
    named = tuple((symbol, symbol.split(":")[0].replace("/", "")) for symbol in symbols)
    chosen = tuple(Interval(name) for name in intervals or ("1m",))
    return Batch("binance", Market.UM, named, chosen, window.start_ms, window.end_ms)


def rows(count: int = 60, *, start: int = HOUR.start_ms, interval: str = "1m", symbol: str = "BTC/USDT:USDT") -> list:
    step = Interval(interval).ms
    return [
        [
            int(bar["ts"].timestamp() * 1000), *(f"{bar[n]:f}" for n in ("open", "high", "low", "close", "volume")),
            int(bar["ts"].timestamp() * 1000) + step - 1, f"{bar['quote_volume']:f}", bar["trades"],
            f"{bar['taker_buy_volume']:f}", f"{bar['taker_buy_quote_volume']:f}", "0",
        ]
        for bar in bars(symbol, interval, start, count).to_pylist()
    ]  # fmt: skip


def page(body: Any, *, interval: str = "1m", symbol: str = "BTC/USDT:USDT") -> Page:
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    return Page(symbol, interval, HOUR.start_ms, HOUR.end_ms - 1, text)


def test_a_whole_hour_comes_out_to_the_last_digit() -> None:
    result = normalise(batch(), [page(rows())], server_ms=LATER)
    assert result.quarantined == ()
    assert result.extracted == 60
    assert result.bars.equals(bars("BTC/USDT:USDT", "1m", HOUR.start_ms, 60))
    assert result.bars.schema.names == OHLCV.names


@pytest.mark.parametrize(("server_ms", "taken"), [(HOUR.start_ms + 90_000, 1), (HOUR.start_ms + 120_000, 2)])
def test_the_open_bar_is_judged_by_the_exchange_s_clock_and_left_alone(server_ms: int, taken: int) -> None:
    result = normalise(batch(), [page(rows(2))], server_ms=server_ms)
    assert result.bars.num_rows == result.extracted == taken


def test_bars_that_nobody_asked_for_are_neither_taken_nor_quarantined() -> None:
    result = normalise(batch(), [page(rows(180, start=HOUR.start_ms - HOUR_MS))], server_ms=LATER + HOUR_MS)
    assert result.bars.equals(
        normalise(batch(), [page(rows(180, start=HOUR.start_ms - HOUR_MS)[60:120])], server_ms=LATER).bars
    )
    assert result.extracted == 60


def test_an_empty_answer_is_no_bars_and_no_failure() -> None:
    assert normalise(batch(), [page([])], server_ms=LATER).extracted == 0
    assert normalise(batch(), [], server_ms=LATER).bars.schema.names == OHLCV.names


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("precision", lambda row: row.__setitem__(1, "1.123456789")),
        ("columns", lambda row: row.append("surprise")),
        ("type", lambda row: row.__setitem__(5, None)),
        ("ohlc", lambda row: row.__setitem__(2, "0.00000001")),
        ("price", lambda row: row.__setitem__(3, "0")),
        ("volume", lambda row: row.__setitem__(5, "-1")),
        ("taker", lambda row: row.__setitem__(9, "99999999999")),
        ("alignment", lambda row: row.__setitem__(0, row[0] + 1)),
        ("close_time", lambda row: row.__setitem__(6, row[6] + 1)),
    ],
)
def test_a_bad_row_is_quarantined_as_it_came_and_its_neighbours_are_stored(reason: str, spoil: Any) -> None:
    body = rows()
    spoil(body[7])
    result = normalise(batch(symbols=(COIN,)), [page(body, symbol=COIN)], server_ms=LATER)
    (row,) = result.quarantined
    assert (row.symbol, row.interval, row.reason) == (COIN, "1m", reason)
    assert json.loads(row.payload) == body[7]
    assert row.ts == body[7][0]
    assert result.bars.num_rows == 59


def test_the_second_of_two_rows_with_one_open_time_is_quarantined_with_its_own_text() -> None:
    body = rows()
    double = [*body[3][:10], "0", "0"]
    body.insert(4, double)
    result = normalise(batch(), [page(body)], server_ms=LATER)
    assert [(row.reason, json.loads(row.payload)) for row in result.quarantined] == [("order", double)]
    assert result.bars.num_rows == 60


def test_a_body_that_is_no_list_is_quarantined_whole_and_the_other_series_are_taken() -> None:
    pages = [page("<html>", symbol="ETH/USDT:USDT"), page(rows())]
    result = normalise(batch(symbols=("ETH/USDT:USDT", "BTC/USDT:USDT")), pages, server_ms=LATER)
    assert [(row.reason, row.payload, row.ts) for row in result.quarantined] == [("json", "<html>", None)]
    assert result.bars.num_rows == 60


def test_series_come_out_in_canonical_order_whatever_the_order_of_pages() -> None:
    day = Window.of("2026-11-20T15:00", "2026-11-20T16:00")
    four = page(rows(1, start=Window.of("2026-11-20T12:00", "2027-01-01").start_ms, interval="4h"), interval="4h")
    minutes = page(rows(start=day.start_ms))
    one, other = (
        normalise(batch("1m", "4h", window=day), pages, server_ms=LATER) for pages in ([four, minutes], [minutes, four])
    )
    assert one.bars.equals(other.bars)
    assert content_digest(one.bars) == content_digest(other.bars)
    assert one.bars["interval"].to_pylist() == ["1m"] * 60 + ["4h"]
