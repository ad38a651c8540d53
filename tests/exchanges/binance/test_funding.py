"""Archive months of funding: real ones to the last digit, broken rows with their reasons."""

from __future__ import annotations

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import HOUR_MS, iso, parse_time, to_ms
from gapless.exchanges.binance.funding import ParsedRows, nominal_time, parse_funding_zip
from gapless.exchanges.binance.vision.member import BrokenFile
from gapless.exchanges.binance.vision.objects import ArchiveObject, month_object

HEADER = "calc_time,funding_interval_hours,last_funding_rate"
APRIL = parse_time("2026-04-01")


def april(symbol: str = "BTCUSDT") -> ArchiveObject:
    return month_object(Market.UM, "fundingRate", symbol, None, APRIL)


def zipped(text: str, obj: ArchiveObject) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(obj.member, text)
    return packed.getvalue()


def parse(*lines: str, header: str | None = HEADER) -> ParsedRows:
    text = "\n".join([header, *lines] if header is not None else lines) + "\n"
    parsed = parse_funding_zip(zipped(text, april()), april(), exchange="binance", symbol="BTC/USDT:USDT")
    assert parsed.rows.schema == SHAPES[Dataset.FUNDING].schema
    assert parsed.read == parsed.rows.num_rows + len(parsed.rejected)
    return parsed


def reasons(parsed: ParsedRows) -> list[str]:
    return [each.reason for each in parsed.rejected]


def test_a_real_month_comes_out_to_the_last_digit(recordings: Path) -> None:
    path = recordings / "vision_zip" / "futures" / "um" / "monthly" / "fundingRate" / "BTCUSDT" / april().name
    parsed = parse_funding_zip(path.read_bytes(), april(), exchange="binance", symbol="BTC/USDT:USDT")
    with zipfile.ZipFile(path) as archive:
        said = list(csv.DictReader(io.StringIO(archive.read(april().member).decode())))
    rows = parsed.rows.to_pylist()
    assert (parsed.read, parsed.rejected, len(rows)) == (90, [], 90)
    for row, line in zip(rows, said, strict=True):
        assert to_ms(row["exchange_ts"]) == int(line["calc_time"])
        assert row["rate"] == Decimal(line["last_funding_rate"])
        assert row["interval_hours"] == int(line["funding_interval_hours"]) == 8
        assert to_ms(row["ts"]) == int(line["calc_time"]) // HOUR_MS * HOUR_MS
        assert (row["mark_price"], row["rate_type"], row["source"]) == (None, "Regular", Source.VISION)
        assert (row["exchange"], row["symbol"]) == ("binance", "BTC/USDT:USDT")
    assert sum(row["rate"] < 0 for row in rows) == 58
    assert max(to_ms(row["exchange_ts"]) - to_ms(row["ts"]) for row in rows) == 13


def test_columns_go_by_name() -> None:
    parsed = parse(f"-0.00010000,4,{APRIL + 1}", header="last_funding_rate,funding_interval_hours,calc_time")
    (row,) = parsed.rows.to_pylist()
    assert (row["rate"], row["interval_hours"], to_ms(row["exchange_ts"])) == (Decimal("-0.0001"), 4, APRIL + 1)


def test_a_file_without_a_header_has_the_documented_order() -> None:
    (row,) = parse(f"{APRIL},1,0.00010000", header=None).rows.to_pylist()
    assert (row["rate"], row["interval_hours"]) == (Decimal("0.0001"), 1)


@pytest.mark.parametrize("late_ms", [-40, 0, 1, 19, 29_999])
def test_the_nominal_time_is_the_nearest_minute(late_ms: int) -> None:
    assert nominal_time(APRIL + late_ms) == APRIL


def test_rows_come_out_in_order_whatever_order_they_had() -> None:
    lines = [f"{APRIL + hour * HOUR_MS + 3},8,0.0000000{hour % 7}" for hour in (16, 0, 24, 8)]
    parsed = parse(*lines)
    times = parsed.rows["ts"].to_pylist()
    assert times == sorted(times)
    assert len(times) == 4


def test_blank_hours_are_null_and_a_blank_rate_is_no_settlement() -> None:
    parsed = parse(f"{APRIL},,0.1", f"{APRIL + HOUR_MS},8,")
    assert parsed.rows["interval_hours"].to_pylist() == [None]
    assert reasons(parsed) == ["type"]
    assert parsed.rejected[0].ts == APRIL + HOUR_MS
    assert parsed.rejected[0].raw == f"{APRIL + HOUR_MS},8,"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{APRIL},8,0.0000000000001", "precision"),
        (f"{APRIL},8,123456789", "precision"),
        (f"{APRIL},8,1e", "type"),
        (f"{APRIL},8,nan", "type"),
        (f"{APRIL},8.5,0.1", "type"),
        (f"{APRIL},0,0.1", "precision"),
        (f"{APRIL},256,0.1", "precision"),
        (f"{APRIL},8", "columns"),
        (f"{APRIL},8,0.1,0", "columns"),
        ("yesterday,8,0.1", "type"),
        (f"{APRIL}000000,8,0.1", "time"),
        (f"{APRIL - 30_001},8,0.1", "period"),
        (f"{parse_time('2026-05-01') - 1},8,0.1", "period"),
    ],
)
def test_a_row_that_cannot_be_taken_exactly_is_rejected_with_its_text(line: str, reason: str) -> None:
    parsed = parse(f"{APRIL + 8 * HOUR_MS},8,0.1", line)
    assert parsed.rows.num_rows == 1
    assert [(each.reason, each.raw, each.symbol) for each in parsed.rejected] == [(reason, line, "BTC/USDT:USDT")]


@pytest.mark.parametrize(
    ("text", "value"), [("1E-8", "0.00000001"), ("-0", "0"), ("0.000100000000000000", "0.0001"), ("-12.5", "-12.5")]
)
def test_other_ways_to_write_a_rate_are_exact(text: str, value: str) -> None:
    assert parse(f"{APRIL},8,{text}").rows["rate"].to_pylist() == [Decimal(value)]


def test_the_same_settlement_twice_is_one_and_a_contradiction_is_none() -> None:
    same, other = f"{APRIL},8,0.1", f"{APRIL},8,0.2"
    assert reasons(parse(same, same)) == ["duplicate"]
    assert parse(same, same).rows.num_rows == 1
    contradicted = parse(same, other, f"{APRIL + 8 * HOUR_MS},8,0.3")
    assert reasons(contradicted) == ["conflict", "conflict"]
    assert {each.raw for each in contradicted.rejected} == {same, other}
    assert contradicted.rows["rate"].to_pylist() == [Decimal("0.3")]


def test_hours_that_stand_in_one_of_two_equal_rows_are_kept() -> None:
    parsed = parse(f"{APRIL},,0.1", f"{APRIL},4,0.1")
    assert parsed.rows["interval_hours"].to_pylist() == [4]
    assert reasons(parsed) == ["duplicate"]


def test_windows_line_ends_marks_and_blank_lines_do_no_harm() -> None:
    text = f"\ufeff{HEADER}\r\n{APRIL},8, 0.1\r\n\r\n"
    parsed = parse_funding_zip(zipped(text, april()), april(), exchange="binance", symbol="BTC/USDT:USDT")
    assert parsed.rows["rate"].to_pylist() == [Decimal("0.1")]
    assert parsed.rejected == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (f"{HEADER}\n", "empty"),
        ("calc_time,funding_interval_hours,rate\n1,2,3\n", "header"),
        (f"{HEADER},mark_price\n1,2,3,4\n", "header"),
        ("1775001600000,8\n", "header"),
    ],
)
def test_a_file_that_nobody_documented_is_broken_by_name(text: str, reason: str) -> None:
    with pytest.raises(BrokenFile, match=r"BTCUSDT-fundingRate-2026-04\.zip") as broken:
        parse_funding_zip(zipped(text, april()), april(), exchange="binance", symbol="BTC/USDT:USDT")
    assert broken.value.reason == reason
    assert iso(APRIL) in str(broken.value)
