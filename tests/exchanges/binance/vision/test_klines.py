"""Kline files become exact bars of their period; every line not taken has its reason."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import Source
from gapless.domain.window import parse_time
from gapless.exchanges.binance.payloads import KLINES
from gapless.exchanges.binance.rows import FIELDS
from gapless.exchanges.binance.vision import klines_csv
from gapless.exchanges.binance.vision.klines import BrokenFile, parse_klines_zip
from gapless.exchanges.binance.vision.klines_csv import Layout, Sheet
from gapless.exchanges.binance.vision.objects import month_object, parse_path
from gapless.quality.rules import check_bars
from tests.exchanges.binance.vision.files import (
    DAY,
    HEADER,
    HOUR,
    assert_equal_to_text,
    line,
    opens_of,
    parse,
    reasons,
    zipped,
)

ROWS = [line(hour) for hour in range(24)]


def is_fast(text: str) -> bool:
    data = text.encode()
    return klines_csv.read_fast(data, klines_csv.sniff(data)) is not None


# Real files


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip", 1440),
        ("spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-02.zip", 1440),
        ("spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-05-08.zip", 24),
    ],
)
def test_recorded_zips_are_read_to_the_last_digit(recordings: Path, path: str, rows: int) -> None:
    file = recordings / "vision_zip" / path
    obj = parse_path(f"data/{path}")
    assert obj is not None
    parsed = parse_klines_zip(file.read_bytes(), obj, exchange="binance", symbol="BTC/USDT")
    with zipfile.ZipFile(file) as archive:
        text = archive.read(obj.member).decode()
    assert is_fast(text)
    assert (parsed.rows, parsed.rejected) == (rows, [])
    assert parsed.bars.schema == KLINES
    assert_equal_to_text(parsed.bars, list(csv.reader(io.StringIO(text))))
    assert check_bars(parsed.bars).broken == ()


@pytest.mark.parametrize("name", ["ALGOUSDT-1m-2024-09", "AVAXUSDT-1m-2023-09"])
def test_recorded_months_are_read_to_the_last_digit(recordings: Path, name: str) -> None:
    text = (recordings / "klines_1m" / "um_futures_vision_csv" / f"{name}.csv").read_text()
    symbol, _, month = name.split("-", 2)
    obj = month_object(Market.UM, "klines", symbol, Interval.M1, parse_time(f"{month}-01"))
    parsed = parse_klines_zip(zipped(text, obj), obj, exchange="binance", symbol="X/USDT:USDT")
    assert is_fast(text)
    assert (parsed.rows, parsed.rejected) == (43_200, [])
    assert_equal_to_text(parsed.bars, list(csv.reader(io.StringIO(text)))[1:])
    assert check_bars(parsed.bars).broken == ()
    patient = klines_csv.read_patiently(text.encode(), klines_csv.sniff(text.encode()))
    assert patient.refused == ()
    assert all(patient.columns[column].equals(parsed.bars[column]) for column in FIELDS[1:6])


# Forms of a file


def test_a_bar_carries_its_series_its_source_and_its_times_in_utc_ms() -> None:
    parsed = parse(line(3))
    [bar] = parsed.bars.drop_columns(["ts", "close_time"]).to_pylist()
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
        "source": Source.VISION,
    }
    assert parsed.bars["ts"].cast(pa.int64()).to_pylist() == [DAY.start_ms + 3 * HOUR]
    assert parsed.bars["close_time"].cast(pa.int64()).to_pylist() == [DAY.start_ms + 4 * HOUR - 1]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ROWS),
        "\n".join(ROWS) + "\n",
        "\r\n".join(ROWS) + "\r\n",
        "\n".join([HEADER, *ROWS]),
        "\r\n".join([HEADER, *ROWS]),
        "\ufeff" + "\n".join(ROWS),
        "\ufeff" + "\n".join([HEADER, *ROWS]) + "\n",
        "\n".join(ROWS) + "\n\n\r\n  \n\t\n",
        "\n\n" + "\n\n".join([HEADER, *ROWS]),
        "\n".join([HEADER.replace(",", " , "), *(row.replace(",", " , ") for row in ROWS)]) + " ",
        "\n".join(row.replace(",0.9,", ",9E-1,") for row in ROWS),
    ],
    ids=[
        "bare",
        "ended",
        "crlf",
        "header",
        "header-crlf",
        "bom",
        "bom-header",
        "trailing",
        "blank",
        "spaces",
        "science",
    ],
)
def test_every_form_of_a_file_says_the_same(text: str) -> None:
    parsed = parse(text)
    assert (parsed.rows, parsed.rejected) == (24, [])
    assert parsed.bars.equals(parse("\n".join(ROWS)).bars)


def test_columns_go_by_name_whatever_their_order() -> None:
    names = HEADER.split(",")
    order = list(range(12))
    random.Random(3).shuffle(order)
    shuffled = [",".join(text.split(",")[at] for at in order) for text in [",".join(names), *ROWS]]
    assert is_fast("\n".join(shuffled))
    for text in ("\n".join(shuffled), "\n".join(shuffled).replace(",", " ,")):
        assert parse(text).bars.equals(parse("\n".join(ROWS)).bars)


def test_the_column_that_carries_nothing_may_be_missing_from_a_header_or_hold_anything() -> None:
    short = [row.rpartition(",")[0] for row in [HEADER, *ROWS]]
    odd = [*ROWS[:-1], ROWS[-1][:-1] + "n/a"]
    for text in ("\n".join(short), "\n".join(odd)):
        assert parse(text).bars.equals(parse("\n".join(ROWS)).bars)


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("count", "trades"),
        HEADER.replace("taker_buy_volume,", ""),
        HEADER + ",extra",
        HEADER.replace("quote_volume", "volume"),
        HEADER.replace("ignore", "open"),
        HEADER.replace(",", ";"),
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
        "<html>",
        '{"code":-1121}',
        "币",
    ],
)
def test_an_unknown_header_breaks_the_file(header: str) -> None:
    with pytest.raises(BrokenFile, match="unknown columns") as caught:
        parse("\n".join([header, *ROWS]))
    assert caught.value.reason == "header"


@pytest.mark.parametrize("text", ["", "\n \r\n", "\ufeff", HEADER, HEADER + "\n\n"])
def test_a_file_without_rows_is_broken(text: str) -> None:
    with pytest.raises(BrokenFile, match="no rows") as caught:
        parse(text)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize("text", ["1,2,3", "\n".join(row + ",1" for row in ROWS), "1;2\n3;4", ",,,"])
def test_a_file_of_which_no_row_has_the_right_number_of_values_is_broken(text: str) -> None:
    with pytest.raises(BrokenFile, match="no row has 12 values") as caught:
        parse(text)
    assert caught.value.reason == "columns"


# Units


def test_units_are_told_for_each_row_by_magnitude() -> None:
    mixed = [line(hour, hour % 2 == 1) for hour in range(24)]
    assert is_fast("\n".join(mixed))
    assert parse("\n".join(mixed)).bars.equals(parse("\n".join(ROWS)).bars)
    patient = parse("\n".join(mixed).replace(",", ", "))
    assert patient.bars.equals(parse("\n".join(ROWS)).bars)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ts": str(DAY.start_ms * 1000 + 1)}, "time"),  # half a millisecond would be lost
        ({"close_time": str((DAY.start_ms + HOUR) * 1000 - 2)}, "time"),
        ({"ts": str(DAY.start_ms * 1_000_000)}, "time"),  # nanoseconds
        ({"ts": str(DAY.start_ms // 1000)}, "period"),  # seconds are milliseconds of 1970
    ],
)
def test_other_units_are_not_guessed(changes: dict[str, str], reason: str) -> None:
    broken = line(0, **changes)
    parsed = parse("\n".join([broken, *ROWS[1:]]))
    assert reasons(parsed) == [(reason, broken)]
    assert opens_of(parsed) == list(range(1, 24))


# Rows that are not taken


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"open": "1.123456789"}, "precision"),
        ({"volume": "0.000000001"}, "precision"),
        ({"high": "1E-9"}, "precision"),
        ({"high": "1.5E-8"}, "precision"),
        ({"high": "1234567890123"}, "precision"),
        ({"low": "-1234567890123.5"}, "precision"),
        ({"quote_volume": "123456789012345678901"}, "precision"),
        ({"close": "1e30"}, "precision"),
        ({"trades": "4294967296"}, "precision"),
        ({"trades": "-1"}, "precision"),
        ({"trades": "7.0"}, "type"),
        ({"trades": "0x7"}, "type"),
        ({"ts": "1725148800000.0"}, "type"),
        ({"ts": "01725148800000"}, "type"),
        ({"ts": "99999999999999999999"}, "time"),
        ({"close_time": "-1"}, "time"),
        ({"open": "null"}, "type"),
        ({"open": ""}, "type"),
        ({"open": "NaN"}, "type"),
        ({"open": "1_000"}, "type"),
        ({"open": "１"}, "type"),
        ({"open": '"1.1"'}, "type"),
        ({"open": "+1"}, "type"),
        ({"open": ".5"}, "type"),
        ({"open": "5."}, "type"),
        ({"open": "1 1"}, "type"),
        ({"open": "1,1"}, "columns"),
        ({"open": "1\x00"}, "type"),
    ],
)
def test_a_row_that_is_not_exact_is_rejected_alone_with_its_line(changes: dict[str, str], reason: str) -> None:
    broken = line(1, **changes)
    parsed = parse("\n".join([ROWS[0], broken, ROWS[2]]))
    assert opens_of(parsed) == [0, 2]
    assert parsed.rows == 3
    [found] = parsed.rejected
    assert (found.symbol, found.interval, found.reason, found.raw) == ("BTC/USDT:USDT", "1h", reason, broken)
    assert found.ts == (None if "ts" in changes else DAY.start_ms + HOUR)


def test_a_line_that_is_no_text_is_kept_as_well_as_it_can_be() -> None:
    parsed = parse(b"\xff\xfe,2\n" + ROWS[0].encode())
    assert opens_of(parsed) == [0]
    assert reasons(parsed) == [("columns", "\ufffd\ufffd,2")]


def test_a_file_cut_in_a_line_keeps_the_lines_before() -> None:
    text = "\n".join(ROWS)[:-20]
    parsed = parse(text)
    assert opens_of(parsed) == list(range(23))
    assert [reason for reason, _ in reasons(parsed)] == ["columns"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1E-8", "0.00000001"),
        ("1.5e-7", "0.00000015"),
        ("10E-9", "0.00000001"),
        ("-1E-8", "-0.00000001"),
        ("0E-8", "0"),
        ("0e500", "0"),
        ("1.5E3", "1500"),
        ("1.10000000000", "1.1"),
        ("123456789012.12345678", "123456789012.12345678"),
        (f"1.{'0' * 60}", "1"),
        (f"{'0' * 60}1", "1"),
    ],
)
def test_other_ways_to_write_an_exact_value_are_taken(text: str, value: str) -> None:
    parsed = parse(line(0, open=text))
    assert parsed.rejected == []
    assert parsed.bars["open"].to_pylist() == [Decimal(value)]


def test_small_numbers_of_old_files_keep_the_fast_reading() -> None:
    assert is_fast(line(0, open="1.2E-7", high="0E-8"))


# Period, order, repetition


def test_rows_come_sorted_however_the_file_has_them() -> None:
    shuffled = random.Random(1).sample(ROWS, 24)
    parsed = parse("\n".join(shuffled))
    assert parsed.rejected == []
    assert parsed.bars.equals(parse("\n".join(ROWS)).bars)


def test_a_bar_outside_the_period_is_rejected_and_the_edges_belong_to_it() -> None:
    before, after = line(-1), line(24)
    parsed = parse("\n".join([before, *ROWS, after]))
    assert opens_of(parsed) == list(range(24))
    assert reasons(parsed) == [("period", before), ("period", after)]
    assert [each.ts for each in parsed.rejected] == [DAY.start_ms - HOUR, DAY.window.end_ms]


def test_a_file_of_another_period_gives_no_bar_and_every_reason() -> None:
    parsed = parse("\n".join([HEADER, line(24), line(25)]))
    assert parsed.bars.equals(KLINES.empty_table())
    assert [each.reason for each in parsed.rejected] == ["period", "period"]


def test_rows_that_say_the_same_again_are_duplicates_of_the_first() -> None:
    again = line(5, open="1.10")
    parsed = parse("\n".join([*ROWS, again, ROWS[5]]))
    assert opens_of(parsed) == list(range(24))
    assert reasons(parsed) == [("duplicate", again), ("duplicate", ROWS[5])]


@pytest.mark.parametrize(
    "changes",
    [{"open": "1.10000001"}, {"trades": "8"}, {"close_time": "1725170399998"}, {"taker_buy_quote_volume": "55"}],
)
def test_rows_of_one_time_that_disagree_are_all_rejected(changes: dict[str, str]) -> None:
    other = line(5, **changes)
    parsed = parse("\n".join([HEADER, *ROWS, ROWS[5], other]))
    assert opens_of(parsed) == [hour for hour in range(24) if hour != 5]
    assert reasons(parsed) == [("conflict", ROWS[5]), ("conflict", ROWS[5]), ("conflict", other)]
    assert parsed.rows == parsed.bars.num_rows + len(parsed.rejected) == 26


def test_each_kind_of_line_finds_its_reason_in_one_file() -> None:
    lines = [line(24), ROWS[2], "x", ROWS[1], line(2, open="7"), ROWS[1], "", line(3, open="0.000000001"), ROWS[0]]
    parsed = parse("\r\n".join(lines))
    assert opens_of(parsed) == [0, 1]
    assert sorted(reasons(parsed)) == sorted(
        [
            ("columns", "x"),
            ("precision", lines[7]),
            ("period", lines[0]),
            ("conflict", lines[1]),
            ("conflict", lines[4]),
            ("duplicate", lines[5]),
        ]
    )


# Both readings agree, whatever the text

_DIGITS = st.text("0123456789", min_size=1, max_size=24)
_NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.tuples(_DIGITS, _DIGITS).map(".".join),
    st.tuples(_DIGITS, st.sampled_from("eE"), st.integers(-40, 40).map(str)).map("".join),
    _DIGITS,
    st.sampled_from(
        ["0", "-0", ".5", "5.", "+1", "1e5", "00", "-", ".", "", "null", "1 ", " 1", "0x1", '"1"', "\r", "\x0b1"]
    ),
)
_TIMES = st.one_of(
    st.integers(0, 2 * 10**12).map(str),
    st.integers(0, 2 * 10**12).map(lambda ms: f"{ms}000"),
    st.integers(0, 2 * 10**12).map(lambda ms: f"{ms}999"),
    st.integers(0, 10**20).map(str),
)
_AMOUNTS = st.one_of(st.decimals(0, 10**11, places=8).map(lambda d: f"{d:f}"), st.sampled_from(["1E-8", "0E-8", "3"]))
_GOOD = st.tuples(
    _TIMES, *[_AMOUNTS] * 5, _TIMES, _AMOUNTS, st.integers(0, 5_000_000_000).map(str), *[_AMOUNTS] * 2, st.just("0")
).map(list)
_ODD = st.builds(
    lambda values, place, text: [*values[:place], text, *values[place + 1 :]], _GOOD, st.integers(0, 11), _NUMBERS
)
_LINES = st.one_of(_GOOD, _GOOD, _ODD, st.lists(_NUMBERS, max_size=13)).map(",".join)
_TEXTS = st.tuples(st.lists(_LINES, max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans()).map(
    lambda parts: parts[1].join(parts[0]) + parts[1] * parts[2]
)
_DAMAGED = st.builds(
    lambda text, at, new: text[: at % (len(text) + 1)] + new + text[at % (len(text) + 1) + 1 :],
    _TEXTS,
    st.integers(0, 10_000),
    st.text('0123456789.,"eE- \r\n\t', max_size=2),
)


@settings(max_examples=600)
@given(st.one_of(_TEXTS, _DAMAGED), st.permutations(FIELDS))
def test_the_fast_reading_takes_only_what_the_patient_one_takes(text: str, names: list[str]) -> None:
    for layout in (Layout(FIELDS, 0), Layout(tuple(names), 0)):
        fast = klines_csv.read_fast(text.encode(), layout)
        if fast is None:
            continue
        patient = klines_csv.read_patiently(text.encode(), layout)
        assert patient.refused == ()
        assert _values(fast) == _values(patient)
        everything = range(fast.rows)
        assert fast.lines.at(everything) == patient.lines.at(everything)


def _values(sheet: Sheet) -> dict[str, list[object]]:
    return {name: column.to_pylist() for name, column in sheet.columns.items()}


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(-2, 26), st.sampled_from(["1.1", "1.10", "1.2"])), min_size=1, max_size=30))
def test_what_is_taken_follows_from_the_rows_alone_and_not_from_their_order(said: list[tuple[int, str]]) -> None:
    lines = [line(hour, open=value) for hour, value in said]
    parsed = parse("\n".join(lines))
    values: dict[int, set[Decimal]] = {}
    for hour, value in said:
        values.setdefault(hour, set()).add(Decimal(value))
    assert opens_of(parsed) == sorted(hour for hour in values if 0 <= hour < 24 and len(values[hour]) == 1)
    by_hour = {hour: [each for each in parsed.rejected if each.ts == DAY.start_ms + hour * HOUR] for hour in values}
    for hour, found in by_hour.items():
        count = sum(1 for each, _ in said if each == hour)
        if not 0 <= hour < 24:
            assert [each.reason for each in found] == ["period"] * count
        elif len(values[hour]) > 1:
            assert [each.reason for each in found] == ["conflict"] * count
        else:
            assert [each.reason for each in found] == ["duplicate"] * (count - 1)
    assert parsed.rows == len(said) == parsed.bars.num_rows + len(parsed.rejected)
