"""Each rule catches what it is for, blames the right row, and lets sound bars pass."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.quality.rules import check_bars
from tests.bars import bars

D = Decimal
STEP = 60_000


def received(count: int = 20, symbol: str = "BTC/USDT") -> pa.Table:
    table = bars(symbol, "1m", "2026-11-20T00:00", count)
    close = [int(ts.timestamp() * 1000) + STEP - 1 for ts in table["ts"].to_pylist()]
    return table.append_column("close_time", pa.array(close, pa.int64()))


def change(table: pa.Table, row: int, **values: Any) -> pa.Table:
    for name, value in values.items():
        field = table.schema.field(name)
        column = table[name].to_pylist()
        column[row] = value(column[row]) if callable(value) else value
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(column, field.type))
    return table


def broken(table: pa.Table) -> list[tuple[int, str]]:
    checked = check_bars(table)
    assert checked.good.num_rows + len(checked.broken) == table.num_rows
    return [(row.row, row.reason) for row in checked.broken]


def test_sound_bars_pass_whole_and_untouched_and_so_does_nothing() -> None:
    table = received(300)
    assert check_bars(table).good.equals(table)
    assert check_bars(table.slice(0, 0)).good.num_rows == 0


def test_a_bar_without_trades_is_legal() -> None:
    flat = change(
        received(3), 1, open=D(5), high=D(5), low=D(5), close=D(5), volume=D(0), quote_volume=D(0), trades=0,
        taker_buy_volume=D(0), taker_buy_quote_volume=D(0),
    )  # fmt: skip
    assert broken(flat) == []


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        ("price", {"low": D(0)}),
        ("price", {"open": D("-0.00000001")}),
        ("ohlc", {"open": lambda v: D(10) ** 11}),
        ("ohlc", {"high": D("0.00000001")}),
        ("ohlc", {"low": D(10) ** 11}),
        ("ohlc", {"close": lambda v: D(10) ** 11}),
        ("volume", {"volume": D("-0.00000001")}),
        ("volume", {"taker_buy_quote_volume": D("-0.00000001")}),
        ("taker", {"taker_buy_volume": D(10) ** 12}),
        ("taker", {"taker_buy_quote_volume": D(10) ** 12}),
        ("close_time", {"close_time": lambda v: v + 1}),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_and_the_rest_is_kept(reason: str, values: dict[str, Any]) -> None:
    assert broken(change(received(), 7, **values)) == [(7, reason)]


def test_an_open_time_off_the_grid_is_misaligned() -> None:
    shift: Callable[[Any], Any] = lambda ts: ts.replace(second=1)  # noqa: E731
    assert broken(change(received(), 4, ts=shift, close_time=lambda v: v + 1000)) == [(4, "alignment")]


def test_the_same_open_time_twice_keeps_the_first() -> None:
    rows = pa.array([0, 1, 2, 2, 3])
    assert broken(received().take(rows)) == [(3, "order")]


def test_a_row_that_goes_back_in_time_is_out_of_order_and_those_after_it_are_not() -> None:
    assert broken(received().take(pa.array([0, 1, 4, 2, 3, 5, 6]))) == [(3, "order"), (4, "order")]


def test_a_broken_row_with_a_time_far_ahead_does_not_condemn_those_behind_it() -> None:
    ahead = change(received(), 2, ts=lambda ts: ts.replace(year=2030), close_time=0)
    assert broken(ahead) == [(2, "close_time")]


def test_each_series_has_an_order_of_its_own() -> None:
    assert broken(pa.concat_tables([received(5), received(5, "ETH/USDT"), received(5, "BTC/USDT:USDT")])) == []


@given(st.permutations(list(range(8))))
def test_order_is_judged_against_the_latest_time_so_far(order: list[int]) -> None:
    expected = [(at, "order") for at in range(1, 8) if order[at] < max(order[:at])]
    assert broken(received(8).take(pa.array(order))) == expected


def test_a_real_month_breaks_no_rule(recordings: Any) -> None:
    import pyarrow.csv

    from gapless.domain.schema import OHLCV, OHLCV_VALUES

    path = recordings / "klines_1m" / "um_futures_vision_csv" / "ALGOUSDT-1m-2024-09.csv"
    types = {name: OHLCV.field(name).type for name in OHLCV_VALUES if name != "trades"}
    month = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    constants = {"symbol": "ALGO/USDT:USDT", "interval": "1m"}
    table = pa.table(
        {name: pa.array([value] * month.num_rows) for name, value in constants.items()}
        | {"ts": month["open_time"].cast(OHLCV.field("ts").type), "close_time": month["close_time"]}
        | {name: month[name] for name in types}
    )
    assert check_bars(table).good.num_rows == 43_200
