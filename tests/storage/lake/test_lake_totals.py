"""Totals are exact, and a month that is read back is what the store really holds."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.totals import SeriesKey, SeriesTotals, disagreeing
from gapless.domain.window import parse_time
from gapless.errors import StorageError
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.layout import Month
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import Damaged, ObjectStore, Stat, uri_of
from gapless.storage.lake.parquet import Footer, footer_text, writer_of
from gapless.storage.lake.totals import MonthContents, totals_of
from gapless.storage.lake.writing import encode
from tests.bars import bars
from tests.fixtures.s3 import S3Server
from tests.storage.lake.front import Fault, Front
from tests.storage.lake.rows import funding, metrics, table

BARS, FUNDING, METRICS = SHAPES[Dataset.OHLCV], SHAPES[Dataset.FUNDING], SHAPES[Dataset.METRICS]
JULY = parse_time("2026-07-01")
DAYS = Month(Dataset.OHLCV, "binance", Interval.M1, JULY)


def plainly(shape: Shape, rows: pa.Table) -> dict[SeriesKey, SeriesTotals]:
    """The totals, added up one by one."""
    series: dict[SeriesKey, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.set_column(rows.column_names.index("ts"), "ts", rows["ts"].cast(pa.int64())).to_pylist():
        series[(row["exchange"], row["symbol"], row[shape.label] if shape.label else "")].append(row)
    found = {}
    with localcontext() as exact:
        exact.prec = 100
        for key, held in series.items():
            values = [[row[name] for row in held if row[name] is not None] for name in shape.values]
            found[key] = SeriesTotals(
                rows=len(held),
                first_ms=min(row["ts"] for row in held),
                last_ms=max(row["ts"] for row in held),
                ts_seconds=sum(row["ts"] for row in held) // 1000,
                counts=tuple(len(column) for column in values),
                sums=tuple(sum((_number(value) for value in column), Decimal(0)) for column in values),
            )
    return found


def _number(value: Any) -> Decimal:
    return Decimal(int(value.timestamp() * 1000)) if hasattr(value, "timestamp") else Decimal(value)


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Exact decimals of so many digits, the largest ones often."""
    most = 10**digits - 1
    units = st.integers(-most, most) | st.sampled_from([most, -most, 0, 1, -1, 2**63 - 1, 2**63, -(2**63), 2**64])
    return units.map(lambda value: Decimal(f"{value}E-{scale}"))


@st.composite
def metric_rows(draw: st.DrawFn) -> pa.Table:
    """Metrics of a few series in any order, with nulls and values of every size."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["A/USDT", "B/USDT", "币/USDT"]),
                st.integers(0, 8_000),
                *[st.none() | decimals(38, 14)] * 2,
                *[st.none() | decimals(24, 10)] * 4,
            ),
            min_size=1,
            max_size=12,
        )
    )
    names = ("symbol", "ts", *METRICS.values)
    plain = [dict(zip(names, row, strict=True)) | {"exchange": "binance", "source": 1} for row in rows]
    return table(Dataset.METRICS, [row | {"ts": JULY + row["ts"] * 300_000} for row in plain])


@settings(max_examples=80)
@given(rows=metric_rows(), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_totals_are_those_of_plain_decimals_however_rows_come_in_pieces(rows: pa.Table, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, rows.num_rows) for cut in cuts), rows.num_rows]
    pieces = [rows.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    found = totals_of(METRICS, pieces)
    assert found == plainly(METRICS, rows)
    assert list(found) == sorted(found)


def test_totals_of_bars_and_settlements_are_those_of_plain_decimals() -> None:
    some = pa.concat_tables([bars("A/USDT", "1m", "2026-07-01", 40), bars("币/USDT", "1h", "2026-07-01", 9)])
    assert totals_of(BARS, [some.slice(3, 30), some.slice(33), some.slice(0, 3)]) == plainly(BARS, some)
    paid = pa.concat_tables(
        [
            funding("A/USDT:USDT", "2026-07-01", 5),
            funding("A/USDT:USDT", "2026-07-01", 5, rate_type="Special", mark_price=None, interval_hours=None),
        ]
    )
    found = totals_of(FUNDING, [paid])
    assert found == plainly(FUNDING, paid)
    special = found[("binance", "A/USDT:USDT", "Special")]
    assert (special.counts, special.sums[2:]) == ((5, 5, 0, 0), (Decimal(0), Decimal(0)))
    assert totals_of(BARS, []) == totals_of(BARS, [some.slice(0, 0)]) == {}


def test_sums_beyond_every_machine_word_are_exact() -> None:
    most = Decimal("999999999999999999999999.99999999999999")  # DECIMAL(38, 14)
    one = metrics("A/USDT:USDT", "2026-07-01", 1, blanks=False).to_pylist()[0] | {"open_interest": most, "ts": JULY}
    rows = table(Dataset.METRICS, [one | {"ts": JULY + n * 300_000} for n in range(1_000)])
    (found,) = totals_of(METRICS, [rows]).values()
    assert found.sums[0] == Decimal("999999999999999999999999999.99999999999000")


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


def july(*symbols: str) -> pa.Table:
    """Bars on both sides of a midnight within July."""
    return pa.concat_tables([bars(symbol, "1m", "2026-07-08T23:30", 60) for symbol in symbols])


def digest_of(contents: MonthContents) -> str:
    text = "".join(f"{one.key} {one.sha256} {one.rows}\n" for one in contents.objects)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_month_read_back_says_what_lies_there(lake: BarLake) -> None:
    rows = july("A/USDT", "币/USDT")
    receipts = lake.write(rows)
    lake.write(bars("A/USDT", "1m", "2026-08-01", 3))
    lake.write(bars("A/USDT", "5m", "2026-07-08", 3))
    found = lake.read_back(DAYS)
    assert found.totals == totals_of(BARS, [rows])
    assert disagreeing(found.totals, plainly(BARS, rows)) == []
    told = [(one.key, one.uri, one.bytes, one.sha256, one.rows, one.content_digest) for one in found.objects]
    assert told == [(one.key, one.uri, one.bytes, one.sha256, one.rows, one.content_digest) for one in receipts]
    assert (found.rows, found.digest) == (120, digest_of(found))
    assert lake.read_back(DAYS, threads=1) == found
    nothing = lake.read_back(Month(Dataset.OHLCV, "binance", Interval.M15, JULY))
    assert (nothing.objects, nothing.totals, nothing.digest) == ((), {}, hashlib.sha256(b"").hexdigest())


def test_other_datasets_are_read_back_too_nulls_and_all(lake: BarLake) -> None:
    measured = pa.concat_tables([metrics(f"S{n}/USDT:USDT", "2026-07-01", 50) for n in range(6)])
    lake.write(measured, dataset=Dataset.METRICS)
    found = lake.read_back(Month(Dataset.METRICS, "binance", None, JULY))
    assert found.totals == plainly(METRICS, measured)
    assert len(found.objects) > 1  # buckets


def folder_lake(folder: Path) -> BarLake:
    return BarLake(FileStore(folder), FileLocks(folder / "_locks"))


def test_a_wrong_byte_is_found_or_changes_no_row(tmp_path: Path) -> None:
    lake = folder_lake(tmp_path)
    lake.write(july("A/USDT", "B/USDT"))
    good = lake.read_back(DAYS)
    path = tmp_path / good.objects[0].key
    data, rng = path.read_bytes(), random.Random(5)
    refused: list[StorageError] = []
    for at in sorted(rng.sample(range(len(data)), 120)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        try:
            now = lake.read_back(DAYS)
        except StorageError as error:
            refused.append(error)
        else:
            assert now.totals == good.totals
            assert now.digest != good.digest
    assert len(refused) > 60  # the rest are places of the footer that say nothing of the rows
    named = [error.uri for error in refused if isinstance(error, Damaged)]
    assert set(named) == {good.objects[0].uri}
    # A mark of the schema that reads as another release's is no damage, and is said as such.
    assert all("of this release" in str(error) for error in refused if not isinstance(error, Damaged))


def test_a_damaged_object_is_named_on_every_store(lake: BarLake) -> None:
    first, second = lake.write(july("A/USDT"))
    data = lake.store.get(second.key) or b""
    lake.store.put(second.key, data[:300] + b"\0\0\0\0" + data[304:])
    with pytest.raises(Damaged, match=r"2026-07-09\.parquet cannot be read") as caught:
        lake.read_back(DAYS)
    assert caught.value.uri == second.uri
    lake.store.put(second.key, data[:-20])
    with pytest.raises(Damaged):
        lake.read_back(DAYS)
    assert lake.store.get(first.key) is not None


def test_bytes_that_changed_on_the_way_once_are_read_again(
    s3_server: S3Server, s3_front: Front, tmp_path: Path
) -> None:
    lake = BarLake(s3_server.store(f"{tmp_path.parent.name}-once", endpoint=s3_front.endpoint), FileLocks(tmp_path))
    lake.write(july("A/USDT"))
    spoilt: list[str] = []

    def once(method: str, path: str, before: int) -> Fault | None:
        if method != "GET" or "2026-07-09.parquet" not in path or spoilt:
            return None
        spoilt.append(path)
        return "other bytes"

    s3_front.fault = once
    assert lake.read_back(DAYS).totals == totals_of(BARS, [july("A/USDT")])
    assert len(spoilt) == 1


def test_an_object_that_is_gone_when_its_turn_comes_holds_nothing(tmp_path: Path) -> None:
    class Going(FileStore):
        """A folder from which a repair takes an object while the month is listed."""

        def list(self, prefix: str) -> Iterator[Stat]:
            for stat in super().list(prefix):
                if stat.key.endswith("-09.parquet"):
                    self.delete(stat.key)
                yield stat

    lake = folder_lake(tmp_path)
    lake.write(july("A/USDT"))
    found = BarLake(Going(tmp_path), FileLocks(tmp_path / "_locks")).read_back(DAYS)
    assert [one.key for one in found.objects] == [DAYS.day(parse_time("2026-07-08")).key]
    assert found.rows == 30


def test_rows_in_an_object_they_do_not_belong_to_are_damage(tmp_path: Path) -> None:
    lake = folder_lake(tmp_path)
    key = DAYS.day(parse_time("2026-07-09")).key
    strays = {
        "another day": bars("A/USDT", "1m", "2026-07-08", 3),
        "another interval": bars("A/USDT", "5m", "2026-07-09", 3),
    }
    for rows in strays.values():
        lake.store.put(key, encode(rows, BARS)[0])
        with pytest.raises(Damaged, match="belong to another object") as caught:
            lake.read_back(DAYS)
        assert caught.value.uri == uri_of(lake.store, key)


def test_an_object_with_less_rows_than_its_footer_says_is_damage(tmp_path: Path) -> None:
    lake = folder_lake(tmp_path)
    sink = pa.BufferOutputStream()
    with writer_of(sink, BARS) as writer:
        writer.write_table(bars("A/USDT", "1m", "2026-07-09", 3))
        writer.add_key_value_metadata(footer_text(BARS, Footer(4, 1, "0" * 64)))
    lake.store.put(DAYS.day(parse_time("2026-07-09")).key, bytes(sink.getvalue()))
    with pytest.raises(Damaged, match="its footer says 4 rows, it holds 3"):
        lake.read_back(DAYS)
