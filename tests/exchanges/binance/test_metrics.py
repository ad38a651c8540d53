"""Archive days of metrics, written by hand from the documented form: names, labels, blanks, and both readings alike."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import DAY_MS, from_ms, parse_time, to_ms
from gapless.exchanges.binance import metrics
from gapless.exchanges.binance.metrics import STEP_MS, ParsedRows, parse_metrics_zip
from gapless.exchanges.binance.vision.member import BrokenFile
from gapless.exchanges.binance.vision.objects import ArchiveObject, day_object

HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
VALUES = "104516.0740000000000000,4416123456.1234567890120000,1.11111111,2.22222222,3.33333333,4.44444444"
OLD, NEW = parse_time("2026-06-24"), parse_time("2026-06-25")


def day(start_ms: int, symbol: str = "BTCUSDT") -> ArchiveObject:
    return day_object(Market.UM, "metrics", symbol, None, start_ms)


def zipped(text: str, obj: ArchiveObject) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(obj.member, text)
    return packed.getvalue()


def label(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M:%S}"


def line(at_ms: int, values: str = VALUES, symbol: str = "BTCUSDT") -> str:
    return f"{label(at_ms)},{symbol},{values}"


def numbered(at_ms: int) -> str:
    """A line whose open interest tells its label."""
    return line(at_ms, f"{at_ms // STEP_MS},2,3,4,5,6")


def parse(start_ms: int, *lines: str, header: str = HEADER, symbol: str = "BTCUSDT") -> ParsedRows:
    obj = day(start_ms, symbol)
    data = zipped("\n".join([header, *lines]) + "\n", obj)
    parsed = parse_metrics_zip(data, obj, exchange="binance", symbol="BTC/USDT:USDT")
    assert parsed.rows.schema == SHAPES[Dataset.METRICS].schema
    assert parsed.read == parsed.rows.num_rows + len(parsed.rejected)
    return parsed


def starts(parsed: ParsedRows) -> list[int]:
    return [to_ms(at) for at in parsed.rows["ts"].to_pylist()]


def full_day(start_ms: int) -> list[int]:
    return list(range(start_ms, start_ms + DAY_MS, STEP_MS))


def reasons(parsed: ParsedRows) -> list[str]:
    return [each.reason for each in parsed.rejected]


def test_the_two_top_trader_columns_are_not_swapped() -> None:
    (row,) = parse(NEW, line(NEW)).rows.to_pylist()
    assert row["top_account_ratio"] == Decimal("1.11111111")  # count_toptrader_long_short_ratio
    assert row["top_position_ratio"] == Decimal("2.22222222")  # sum_toptrader_long_short_ratio
    assert row["global_account_ratio"] == Decimal("3.33333333")
    assert row["taker_buy_sell_ratio"] == Decimal("4.44444444")
    assert row["open_interest"] == Decimal("104516.074")
    assert row["open_interest_value"] == Decimal("4416123456.123456789012")
    assert (row["exchange"], row["symbol"], row["source"]) == ("binance", "BTC/USDT:USDT", Source.VISION)


def test_columns_go_by_name_in_whatever_order_they_stand() -> None:
    names = HEADER.split(",")
    turned = ",".join(reversed(names))
    cells = ",".join(reversed(line(NEW).split(",")))
    assert parse(NEW, cells, header=turned).rows.equals(parse(NEW, line(NEW)).rows)


def test_labels_are_ends_before_the_switch_and_starts_from_it_on() -> None:
    before = parse(OLD, *(numbered(at + STEP_MS) for at in full_day(OLD)))
    after = parse(NEW, *(numbered(at) for at in full_day(NEW)))
    assert starts(before) == full_day(OLD)
    assert starts(after) == full_day(NEW)
    assert before.rejected == after.rejected == []


def test_the_border_has_neither_duplicate_nor_hole() -> None:
    """The label 2026-06-25 00:00:00 stands in both files and means another five minutes in each."""
    before = parse(OLD, *(numbered(at + STEP_MS) for at in full_day(OLD)))
    after = parse(NEW, *(numbered(at) for at in full_day(NEW)))
    both = starts(before) + starts(after)
    assert both == list(range(OLD, NEW + DAY_MS, STEP_MS))
    assert before.rows["open_interest"].to_pylist()[-1] == after.rows["open_interest"].to_pylist()[0]


def test_a_file_says_itself_how_it_is_labelled_whatever_its_date() -> None:
    """A file of before the switch that was replaced later, and one after it that was made by the old rule."""
    replaced = parse(OLD, *(numbered(at) for at in full_day(OLD)))
    belated = parse(NEW, *(numbered(at + STEP_MS) for at in full_day(NEW)))
    assert starts(replaced) == full_day(OLD)
    assert starts(belated) == full_day(NEW)


@pytest.mark.parametrize(("start_ms", "shift"), [(OLD, STEP_MS), (NEW, 0)])
def test_a_file_with_neither_midnight_goes_by_its_date(start_ms: int, shift: int) -> None:
    noon = start_ms + DAY_MS // 2
    assert starts(parse(start_ms, numbered(noon))) == [noon - shift]


@pytest.mark.parametrize(("start_ms", "shift", "stray"), [(OLD, STEP_MS, OLD), (NEW, 0, NEW + DAY_MS)])
def test_a_file_with_both_midnights_goes_by_its_date_and_the_stray_row_is_rejected(
    start_ms: int, shift: int, stray: int
) -> None:
    parsed = parse(start_ms, *(numbered(at) for at in range(start_ms, start_ms + DAY_MS + 1, STEP_MS)))
    assert starts(parsed) == full_day(start_ms)
    assert [(each.reason, each.ts, each.raw) for each in parsed.rejected] == [
        ("period", stray - shift, numbered(stray))
    ]


def test_the_whole_archive_day_may_be_short_or_unordered() -> None:
    kept = [at for at in full_day(NEW) if at not in full_day(NEW)[100:120]]
    parsed = parse(NEW, *(numbered(at) for at in reversed(kept)))
    assert starts(parsed) == kept
    assert parsed.rows["open_interest"].to_pylist() == [Decimal(at // STEP_MS) for at in kept]


def test_blanks_are_null() -> None:
    (row,) = parse(NEW, line(NEW, "1,,,2,,")).rows.to_pylist()
    named = {name: row[name] for name in SHAPES[Dataset.METRICS].values}
    assert [name for name, value in named.items() if value is not None] == ["open_interest", "top_position_ratio"]


def test_a_row_without_any_value_is_booked_and_not_stored() -> None:
    blank = line(NEW + STEP_MS, ",,,,,")
    parsed = parse(NEW, line(NEW), blank)
    assert starts(parsed) == [NEW]
    assert [(each.reason, each.ts, each.raw) for each in parsed.rejected] == [("blank", NEW + STEP_MS, blank)]


@pytest.mark.parametrize("off_ms", [1_000, -1_000, 59_000, -59_000])
def test_labels_beside_the_grid_are_rounded_to_it(off_ms: int) -> None:
    noon = NEW + DAY_MS // 2
    assert starts(parse(NEW, numbered(NEW), line(noon + off_ms))) == [NEW, noon]


def test_a_label_a_second_late_decides_the_day_as_one_in_time() -> None:
    parsed = parse(OLD, *(line(at + STEP_MS + 1_000) for at in full_day(OLD)))
    assert starts(parsed) == full_day(OLD)


def test_a_label_between_the_five_minutes_is_rejected() -> None:
    parsed = parse(NEW, numbered(NEW), line(NEW + 60_000))
    assert reasons(parsed) == ["grid"]


def test_rows_that_round_to_one_are_one_when_they_agree_and_none_when_not() -> None:
    agree = parse(NEW, line(NEW), line(NEW + 1_000))
    assert (starts(agree), reasons(agree)) == ([NEW], ["duplicate"])
    other = line(NEW + 1_000, "1,2,3,4,5,6")
    differ = parse(NEW, line(NEW), other, line(NEW + STEP_MS))
    assert (starts(differ), reasons(differ)) == ([NEW + STEP_MS], ["conflict", "conflict"])
    assert {each.raw for each in differ.rejected} == {line(NEW), other}


def test_rows_that_fill_each_others_blanks_are_one() -> None:
    parsed = parse(NEW, line(NEW, "1,2,,,,"), line(NEW, "1,,3,4,5,6"))
    assert [*parsed.rows.to_pylist()[0].values()][3:9] == [Decimal(value) for value in (1, 2, 3, 4, 5, 6)]
    assert reasons(parsed) == ["duplicate"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line(NEW + STEP_MS, "1.000000000000001,2,3,4,5,6"), "precision"),
        (line(NEW + STEP_MS, "1,2,3.00000000001,4,5,6"), "precision"),
        (line(NEW + STEP_MS, f"{10**24},2,3,4,5,6"), "precision"),
        (line(NEW + STEP_MS, f"{10**37},2,3,4,5,6"), "precision"),
        (line(NEW + STEP_MS, "1,2,123456789012345,4,5,6"), "precision"),
        (line(NEW + STEP_MS, "994156040704272915605444682,2,3,4,5,6"), "precision"),  # runs over in Arrow, unseen
        (line(NEW + STEP_MS, "1,2,+3,4,5,6"), "type"),
        (line(NEW + STEP_MS, "1,2,x,4,5,6"), "type"),
        (line(NEW + STEP_MS, "1,2,1.2.3,4,5,6"), "type"),
        (line(NEW + STEP_MS, "1,2,3,4,5"), "columns"),
        (line(NEW + STEP_MS, "1,2,3,4,5,6,7"), "columns"),
        (line(NEW + STEP_MS, symbol="ETHUSDT"), "symbol"),
        (f"2026-06-31 00:00:00,BTCUSDT,{VALUES}", "time"),
        (f",BTCUSDT,{VALUES}", "time"),
        (line(NEW - STEP_MS), "period"),
    ],
)
def test_a_row_that_cannot_be_taken_exactly_is_rejected_with_its_text(bad: str, reason: str) -> None:
    parsed = parse(NEW, line(NEW), bad)
    assert starts(parsed) == [NEW]
    assert [(each.reason, each.raw) for each in parsed.rejected] == [(reason, bad)]


@pytest.mark.parametrize(
    ("text", "value"), [("1E-14", "1E-14"), (f"{10**24 - 1}", f"{10**24 - 1}"), ('"7.5"', "7.5"), ("-.5", "-0.5")]
)
def test_other_ways_to_write_a_number_are_exact(text: str, value: str) -> None:
    assert parse(NEW, line(NEW, f"{text},2,3,4,5,6")).rows["open_interest"].to_pylist() == [Decimal(value)]


@pytest.mark.parametrize("symbol", ["1000PEPEUSDT", "币安人生USDT", "EUSDT"])
def test_symbols_of_every_kind_are_read(symbol: str) -> None:
    parsed = parse(NEW, *(line(at, symbol=symbol) for at in full_day(NEW)), symbol=symbol)
    assert (parsed.rows.num_rows, parsed.rejected) == (288, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (f"{HEADER}\n", "empty"),
        (f"{line(NEW)}\n", "header"),  # without names the two top-trader columns could not be told apart
        (f"{HEADER.replace('sum_toptrader', 'total_toptrader')}\n{line(NEW)}\n", "header"),
        (f"{HEADER},extra\n{line(NEW)},1\n", "header"),
    ],
)
def test_a_file_that_nobody_documented_is_broken_by_name(text: str, reason: str) -> None:
    with pytest.raises(BrokenFile, match=r"BTCUSDT-metrics-2026-06-25\.zip") as broken:
        parse_metrics_zip(zipped(text, day(NEW)), day(NEW), exchange="binance", symbol="BTC/USDT:USDT")
    assert broken.value.reason == reason


def test_an_ordinary_day_is_read_fast() -> None:
    text = "\n".join([HEADER, *(line(at) for at in full_day(NEW))]).encode()
    assert metrics._fast(text, day(NEW), "binance", "BTC/USDT:USDT") is not None


_PLAIN = ["0", "1", "-1.5", "1.", ".5", "0.00000000000001", "0.000000000000010", "1.0000000000", "12345678901234567"]
_ODD = [
    "",
    "0.0000000000000001",
    "1e3",
    "+1",
    "nan",
    "-",
    "--1",
    " 7",
    "1 2",
    '"1"',
    "\t1",
    "9" * 24,
    "9" * 25,
    "9" * 38,
]
_CELLS = st.sampled_from(_PLAIN) | st.sampled_from(_ODD)
_ODD_TIMES = "2026-06-25|2026-06-25 12|2026-06-25 12:00|2026-06-25T12:05:00|2026-06-25 12:05:01|2026-06-25 24:00:00"
_TIMES = st.integers(-2, 290).map(lambda step: label(NEW + step * STEP_MS)) | st.sampled_from(
    [*_ODD_TIMES.split("|"), "2026-06-25 12:05:00.5", "2026-06-25 1200", "", "1782345600000", "0001-01-01"]
)
_LINES = st.lists(
    st.tuples(_TIMES, st.sampled_from(["BTCUSDT"] * 8 + ["BTCUSD", ""]), st.lists(_CELLS, min_size=5, max_size=7)).map(
        lambda row: ",".join([row[0], row[1], *row[2]])
    )
    | st.integers(0, 288).map(lambda step: line(NEW + step * STEP_MS)),
    min_size=1,
    max_size=8,
)


@given(_LINES)
def test_both_readings_of_a_damaged_file_agree(lines: list[str]) -> None:
    text = "\n".join([HEADER, *lines]).encode()
    fast = metrics._fast(text, day(NEW), "binance", "s")
    patient = metrics._patient(text, day(NEW), "binance", "s")
    if fast is not None:
        assert patient.rejected == []
        assert fast.rows.equals(patient.rows)
        assert fast.read == patient.read


@given(st.lists(st.integers(0, 10**26), min_size=12, max_size=12), st.integers(0, 22))
def test_numbers_of_every_length_come_out_exact_or_not_at_all(numbers: list[int], places: int) -> None:
    texts = [f"{Decimal(number).scaleb(-places):f}" for number in numbers]
    rows = [line(NEW, ",".join(texts[:6])), line(NEW + STEP_MS, ",".join(texts[6:]))]
    parsed = parse(NEW, *rows)
    kept: pa.Table = parsed.rows.select(SHAPES[Dataset.METRICS].values)
    said = {NEW: texts[:6], NEW + STEP_MS: texts[6:]}
    for at, row in zip(starts(parsed), kept.to_pylist(), strict=True):
        assert [*row.values()] == [Decimal(text) for text in said[at]]
    assert set(reasons(parsed)) <= {"precision"}
