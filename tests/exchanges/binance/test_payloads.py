"""Kline payloads become exact columns; what is not exact is rejected with its reason."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.schema import Source
from gapless.exchanges.binance import payloads
from gapless.exchanges.binance.payloads import KLINES, parse_klines
from gapless.exchanges.binance.rows import FIELDS, PRICES, VOLUMES, Rejected

ROW = '[1786816800000,"1.1","1.3","0.9","1.2","100.5",1786820399999,"110.55",7,"50","55.1","0"]'
SERIES = ("binance", "BTC/USDT:USDT", "1h")


def parse(*bodies: str | bytes) -> tuple[pa.Table, list[Rejected]]:
    return parse_klines([(*SERIES, body) for body in bodies], Source.REST)


def row(**changes: str) -> str:
    """The row above with other JSON texts in some columns."""
    values = dict(zip(FIELDS, ROW[1:-1].split(","), strict=True)) | changes
    return f"[{','.join(values.values())}]"


def is_fast(body: str) -> bool:
    data = (*SERIES, body.encode())
    return payloads._are_ordinary([data])[0] and payloads._fast([data], 1) is not None


def test_a_bar_is_the_exchanges_text_in_every_column() -> None:
    bars, rejected = parse(f"[{ROW}]")
    assert rejected == []
    assert bars.schema == KLINES
    bar = bars.drop_columns(["ts", "close_time"]).to_pylist()[0]
    assert bar == {
        "exchange": "binance",
        "symbol": "BTC/USDT:USDT",
        "interval": "1h",
        "open": Decimal("1.10000000"),
        "high": Decimal("1.30000000"),
        "low": Decimal("0.90000000"),
        "close": Decimal("1.20000000"),
        "volume": Decimal("100.50000000"),
        "quote_volume": Decimal("110.55000000"),
        "trades": 7,
        "taker_buy_volume": Decimal("50.00000000"),
        "taker_buy_quote_volume": Decimal("55.10000000"),
        "source": 1,
    }
    assert bars["ts"].cast(pa.int64()).to_pylist() == [1786816800000]
    assert bars["close_time"].cast(pa.int64()).to_pylist() == [1786820399999]


def test_recorded_answer_is_read_to_the_last_digit(recordings: Path) -> None:
    body = (recordings / "rest_responses" / "20260815_fapi-v1-klines-BTCUSDT-1h.json").read_bytes()
    bars, rejected = parse(body)
    assert rejected == []
    assert_equal_to_text(bars, json.loads(body))


@pytest.mark.parametrize("name", ["ALGOUSDT-1m-2024-09.csv", "AVAXUSDT-1m-2023-09.csv"])
def test_real_month_as_rest_pages_is_read_to_the_last_digit(recordings: Path, name: str) -> None:
    text = (recordings / "klines_1m" / "um_futures_vision_csv" / name).read_text()
    check_pages(list(csv.reader(io.StringIO(text)))[1:])


@pytest.mark.parametrize("day", ["2020-01-01", "2020-01-02"])
def test_real_spot_day_as_rest_pages_is_read_to_the_last_digit(recordings: Path, day: str) -> None:
    file = recordings / "vision_zip/spot/daily/klines/BTCUSDT/1m" / f"BTCUSDT-1m-{day}.zip"
    with zipfile.ZipFile(file) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    check_pages(list(csv.reader(io.StringIO(text))))


def check_pages(rows: list[list[str]]) -> None:
    """Turns archive rows into REST pages and compares each value with its text."""
    numbers = {FIELDS.index(name) for name in ("ts", "close_time", "trades")}
    pages = []
    for at in range(0, len(rows), 499):
        shaped = [[int(v) if i in numbers else v for i, v in enumerate(r)] for r in rows[at : at + 499]]
        pages.append(json.dumps(shaped, separators=(",", ":")))
    assert is_fast(pages[0])
    bars, rejected = parse(*pages)
    assert rejected == []
    assert_equal_to_text(bars, rows)


def assert_equal_to_text(bars: pa.Table, rows: list[list[str]]) -> None:
    assert bars.num_rows == len(rows) > 0
    for place, name in enumerate(FIELDS[:-1]):
        column = bars[name]
        if name in (*PRICES, *VOLUMES):
            expected = [Decimal(each[place]) for each in rows]
            assert column.to_pylist() == expected, name
        else:
            assert column.cast(pa.int64()).to_pylist() == [int(each[place]) for each in rows], name


def test_bodies_keep_their_order_and_their_series() -> None:
    odd = f"[{row(open='1e0')}]"
    table, rejected = parse_klines(
        [
            ("binance", "币安人生/USDT:USDT", "1h", f"[{ROW},{row(ts='1786820400000')}]"),
            ("binance", "B", "5m", "[]"),
            ("binance", "C", "1m", odd.encode()),
            ("binance", "D", "1d", f"[{ROW}]"),
        ],
        Source.REST,
    )
    assert rejected == []
    assert table["symbol"].to_pylist() == ["币安人生/USDT:USDT"] * 2 + ["C", "D"]
    assert table["interval"].to_pylist() == ["1h", "1h", "1m", "1d"]


def test_nothing_makes_an_empty_table_of_the_same_schema() -> None:
    assert parse()[0].schema == KLINES
    assert parse("[]") == (KLINES.empty_table(), [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"open": '"1.123456789"'}, "precision"),
        ({"volume": '"0.000000001"'}, "precision"),
        ({"high": '"1e-9"'}, "precision"),
        ({"high": '"1234567890123"'}, "precision"),
        ({"low": '"-1234567890123.5"'}, "precision"),
        ({"quote_volume": '"123456789012345678901"'}, "precision"),
        ({"close": '"1e30"'}, "precision"),
        ({"trades": "4294967296"}, "precision"),
        ({"trades": "-1"}, "precision"),
        ({"trades": "7.0"}, "type"),
        ({"ts": "1786816800000.0"}, "type"),
        ({"ts": "1786816800000000"}, "time"),
        ({"close_time": "-1"}, "time"),
        ({"open": "null"}, "type"),
        ({"open": '""'}, "type"),
        ({"open": '"abc"'}, "type"),
        ({"open": '"NaN"'}, "type"),
        ({"open": '"Infinity"'}, "type"),
        ({"open": '"1_000"'}, "type"),
        ({"open": '"１"'}, "type"),
        ({"open": '" 1"'}, "type"),
        ({"open": '"1,1"'}, "type"),
        ({"open": "true"}, "type"),
        ({"open": '["1"]'}, "type"),
        ({"open": '"."'}, "type"),
        ({"open": '"--1"'}, "type"),
        ({"ignore": '"0","0"'}, "columns"),
    ],
)
def test_a_row_that_is_not_exact_is_rejected_alone_with_its_text(changes: dict[str, str], reason: str) -> None:
    broken = row(**changes)
    bars, rejected = parse(f"[{ROW},{broken},{row(ts='1786824000000')}]")
    assert bars["ts"].cast(pa.int64()).to_pylist() == [1786816800000, 1786824000000]
    [found] = rejected
    assert (found.reason, found.raw) == (reason, broken)
    assert found.ts == (None if "ts" in changes else 1786816800000)


@pytest.mark.parametrize("element", ["7", '"x"', "null", "{}", '{"code":-1}'])
def test_an_element_that_is_no_row_is_rejected(element: str) -> None:
    bars, rejected = parse(f"[{element},{ROW}]")
    assert bars.num_rows == 1
    assert [(each.reason, each.raw, each.ts) for each in rejected] == [("type", element, None)]


@pytest.mark.parametrize("body", ["", "<html></html>", f"[{ROW}", f"[{ROW},", '{"code":-1121,"msg":"x"}', f"{ROW}]]"])
def test_a_body_that_is_no_array_is_rejected_whole(body: str) -> None:
    bars, rejected = parse(f"[{ROW}]", body)
    assert bars.num_rows == 1
    assert rejected == [Rejected("BTC/USDT:USDT", "1h", None, "json", body)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"1.10000000000"', "1.1"),
        ('"123456789012.12345678"', "123456789012.12345678"),
        ('"-0.00000001"', "-0.00000001"),
        ('"1.5e3"', "1500"),
        ('"0e500"', "0"),
        ("1.25", "1.25"),
        (f'"1.{"0" * 60}"', "1"),
        (f'"{"0" * 60}1"', "1"),
    ],
)
def test_other_ways_to_write_an_exact_value_are_taken(text: str, value: str) -> None:
    bars, rejected = parse(f"[{row(open=text)}]")
    assert rejected == []
    assert bars["open"].to_pylist() == [Decimal(value)]


def test_one_bad_body_among_many_costs_nobody_else_a_row() -> None:
    bad = row(open='"1.123456789"')
    bodies = [f"[{ROW}]"] * 50 + [f"[{bad}]"] + [f"[{ROW}]"] * 50
    bars, rejected = parse(*bodies)
    assert bars.num_rows == 100
    assert [each.reason for each in rejected] == ["precision"]


# Texts that lie close to what the exchange sends, and far from it.
_DIGITS = st.text("0123456789", min_size=1, max_size=24)
_NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.tuples(_DIGITS, _DIGITS).map(".".join),
    _DIGITS,
    st.sampled_from(["0", "-0", "0.00000000", ".5", "5.", "-.5", "+1", "1e5", "00", "-", ".", "", "null", "1 ", "0x1"]),
)
_SCALARS = st.one_of(
    _NUMBERS.map(lambda text: f'"{text}"'),
    _NUMBERS,
    st.integers(0, 2_000_000_000_000).map(str),
    st.sampled_from(["null", "true", "[]", '["1"]', "{}", '"],["', '"1,2"', '"\\u0031"', '"\\""', '"币"', '"]]"']),
)
_GOOD_ROWS = st.tuples(
    st.integers(0, 3_000_000_000_000).map(str),
    *[st.decimals(0, 10**11, places=8).map(lambda d: f'"{d:f}"')] * 5,
    st.integers(0, 3_000_000_000_000).map(str),
    st.decimals(0, 10**19, places=8).map(lambda d: f'"{d:f}"'),
    st.integers(0, 5_000_000_000).map(str),
    *[st.decimals(0, 10**19, places=8).map(lambda d: f'"{d:f}"')] * 2,
    st.just('"0"'),
).map(list)
_MUTATED = st.builds(
    lambda values, place, scalar: [*values[:place], scalar, *values[place + 1 :]],
    _GOOD_ROWS,
    st.integers(0, 11),
    _SCALARS,
)
_ROWS = st.one_of(_GOOD_ROWS, _MUTATED, st.lists(_SCALARS, max_size=13)).map(lambda v: f"[{','.join(v)}]")
_BODIES = st.lists(_ROWS, max_size=4).map(lambda rows: f"[{','.join(rows)}]")
_DAMAGED = st.builds(
    lambda body, at, text: body[: at % (len(body) + 1)] + text + body[at % (len(body) + 1) + 1 :],
    _BODIES,
    st.integers(0, 10_000),
    st.text('0123456789.,"[]- \n', max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(_BODIES, _DAMAGED))
def test_the_fast_reading_takes_only_what_the_patient_one_takes(body: str) -> None:
    data = (*SERIES, body.encode())
    rejected: list[Rejected] = []
    patient = payloads._patient(data, 1, rejected)
    fast = payloads._fast([data], 1) if payloads._are_ordinary([data])[0] else None
    if fast is not None:
        assert rejected == []
        assert fast.combine_chunks().equals(patient.combine_chunks())
    together, also_rejected = parse(body)
    assert together.combine_chunks().equals(patient.combine_chunks())
    assert also_rejected == rejected


@settings(max_examples=100, deadline=None)
@given(st.lists(_GOOD_ROWS, min_size=1, max_size=3))
def test_ordinary_rows_are_read_fast(rows: list[list[str]]) -> None:
    values = [[v if i != 8 else str(int(v) % 2**32) for i, v in enumerate(r)] for r in rows]
    assert is_fast("[" + ",".join(f"[{','.join(v)}]" for v in values) + "]")
