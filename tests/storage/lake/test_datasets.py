"""Funding and metrics lie in the lake by the same code as bars: exact, nulls and all."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.schema import Source, knowledge
from gapless.domain.window import Window, parse_time
from gapless.errors import StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.merge import merge_rows
from gapless.storage.lake.objects import ObjectStore
from tests.storage.lake.rows import funding, metrics, table

BTC, CHINESE = "BTC/USDT:USDT", "币安人生/USDT:USDT"
NOVEMBER = parse_time("2026-11-01")
EVER = Window.of("2015-01-01", "2030-01-01")
FUNDING, METRICS = SHAPES[Dataset.FUNDING], SHAPES[Dataset.METRICS]


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return BarLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"))


def test_funding_of_all_symbols_lies_in_one_object_a_month(lake: BarLake, tmp_path: Path) -> None:
    parts = [funding(BTC, "2026-11-01", 90), funding(CHINESE, "2026-11-01", 90, mark_price=None)]
    with lake.month_writer(Dataset.FUNDING, "binance", None, NOVEMBER, None, spool_dir=tmp_path) as writer:
        for part in parts:
            writer.add(part)
        (receipt,) = writer.finish()
    assert receipt.key == "funding_rate/binance-2026-11.parquet"
    assert (receipt.dataset, receipt.interval, receipt.added) == ("funding_rate", "", 180)
    assert {one.interval for one in receipt.series} == {"Regular"}
    assert lake.read_rows(Dataset.FUNDING, EVER).equals(pa.concat_tables(parts))
    window = Window.of("2026-11-03", "2026-11-04")
    assert lake.read_rows(Dataset.FUNDING, window, [CHINESE]).equals(parts[1].slice(6, 3))
    assert [stat.key for stat in lake.objects("binance", None, window, dataset=Dataset.FUNDING)] == [receipt.key]


def test_metrics_lie_in_buckets_whoever_writes_them(lake: BarLake, tmp_path: Path) -> None:
    bucket = layout.bucket_of(BTC)
    cold, late = metrics(BTC, "2026-11-01", 300), metrics(BTC, "2026-11-20", 50)
    other = metrics(CHINESE, "2026-11-20", 50)
    with lake.month_writer(Dataset.METRICS, "binance", None, NOVEMBER, bucket, spool_dir=tmp_path) as writer:
        writer.add(cold)
        (receipt,) = writer.finish()
    assert receipt.key == f"futures_metrics/binance-2026-11.{bucket:02}.parquet"
    assert {one.interval for one in receipt.series} == {""}
    lake.write(pa.concat_tables([other, late]), dataset=Dataset.METRICS)
    assert lake.read_rows(Dataset.METRICS, EVER).equals(pa.concat_tables([cold, late, other]))
    lake.remove(late, dataset=Dataset.METRICS)
    assert lake.read_rows(Dataset.METRICS, EVER, [BTC]).equals(cold)


def test_duckdb_reads_nulls_and_exact_rates(folder_lake: BarLake, tmp_path: Path) -> None:
    rows = funding(BTC, "2026-11-01", 5, interval_hours=None)
    folder_lake.write(rows, dataset=Dataset.FUNDING)
    folder_lake.write(metrics(BTC, "2026-11-01", 20), dataset=Dataset.METRICS)
    query = "SELECT rate, interval_hours FROM read_parquet('{}/{}/**/*.parquet', hive_partitioning=true) ORDER BY ts"
    got = duckdb.sql(query.format(tmp_path / "lake", "funding_rate")).fetchall()
    assert got == [(rate, None) for rate in rows["rate"].to_pylist()]
    blank = metrics(BTC, "2026-11-01", 20)["open_interest"].null_count
    query = f"SELECT count(*) FILTER (open_interest IS NULL) FROM '{tmp_path}/lake/futures_metrics/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(blank,)]


def test_a_value_fills_a_null_in_and_a_null_takes_nothing_away(folder_lake: BarLake, tmp_path: Path) -> None:
    archive = funding(BTC, "2026-11-01", 6, source=Source.VISION, mark_price=None)
    rest = funding(BTC, "2026-11-01", 6, source=Source.REST, interval_hours=None)
    told: list[pa.Table] = []
    (first,) = folder_lake.write(archive, dataset=Dataset.FUNDING)
    (second,) = folder_lake.write(rest, dataset=Dataset.FUNDING, on_replaced=lambda old, new: told.append(new))
    (third,) = folder_lake.write(archive, dataset=Dataset.FUNDING, on_outranked=lambda old, new: told.append(new))
    assert (second.filled, second.replaced, second.confirmed) == (6, 0, 0)
    assert (third.unchanged, third.written) == (6, False)
    assert told == []
    held = folder_lake.read_rows(Dataset.FUNDING, EVER)
    assert held.equals(funding(BTC, "2026-11-01", 6))
    assert first.content_digest != second.content_digest == third.content_digest


def test_a_bars_file_under_another_dataset_is_not_taken_for_it(folder_lake: BarLake) -> None:
    (receipt,) = folder_lake.write(funding(BTC, "2026-11-01", 3), dataset=Dataset.FUNDING)
    data = folder_lake.store.get(receipt.key) or b""
    folder_lake.store.put(f"futures_metrics/binance-2026-11.{layout.bucket_of(BTC):02}.parquet", data)
    with pytest.raises(StorageError, match=r"not a canonical futures_metrics object .*funding_rate/1"):
        folder_lake.read_rows(Dataset.METRICS, EVER)


def test_the_digest_text_is_the_documented_one() -> None:
    rows = table(
        Dataset.FUNDING,
        [
            {
                "exchange": "binance", "symbol": CHINESE, "rate_type": kind, "ts": NOVEMBER,
                "exchange_ts": NOVEMBER + 3, "rate": Decimal("-0.000000000001"), "interval_hours": hours,
                "mark_price": mark, "source": 1,
            }
            for kind, hours, mark in (("Regular", None, Decimal("0.00000001")), ("Special", 4, None))
        ],
    )  # fmt: skip
    lines = [
        f"binance,{CHINESE},Regular,{NOVEMBER},{NOVEMBER + 3},-0.000000000001,,0.00000001\n",
        f"binance,{CHINESE},Special,{NOVEMBER},{NOVEMBER + 3},-0.000000000001,4,\n",
    ]
    whole, series = digests(rows, FUNDING)
    assert whole == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert [(one.interval, one.sha256) for one in series] == [
        (kind, hashlib.sha256(line.encode()).hexdigest())
        for kind, line in zip(("Regular", "Special"), lines, strict=True)
    ]


NUMBERS = st.one_of(st.none(), st.integers(0, 2))
SIDES = st.dictionaries(
    st.tuples(st.sampled_from([BTC, CHINESE]), st.integers(0, 3)),
    st.tuples(st.sampled_from(list(Source)), *[NUMBERS] * len(METRICS.values)),
    max_size=8,
)


def rows_of(side: dict[tuple[str, int], Any]) -> pa.Table:
    rows: list[dict[str, object]] = [
        {"exchange": "binance", "symbol": symbol, "ts": NOVEMBER + number * 300_000, "source": int(source)}
        | {n: None if v is None else Decimal(v) for n, v in zip(METRICS.values, values, strict=True)}
        for (symbol, number), (source, *values) in sorted(side.items())
    ]
    return table(Dataset.METRICS, rows)


@given(SIDES, SIDES)
def test_merging_with_nulls_equals_the_model(old: Any, new: Any) -> None:
    expected, counts = dict(old), dict.fromkeys(("added", "replaced", "outranked", "filled", "confirmed"), 0)
    for key, (source, *values) in new.items():
        if key not in old:
            counts["added"] += 1
            expected[key] = (source, *values)
            continue
        stands, *held = old[key]
        pairs = list(zip(held, values, strict=True))
        differs = any(None not in pair and pair[0] != pair[1] for pair in pairs)
        fills = any(pair[0] is None and pair[1] is not None for pair in pairs)
        better = knowledge(source) - knowledge(stands)
        if differs:
            counts["replaced" if better >= 0 else "outranked"] += 1
        elif fills:
            counts["filled"] += 1
        elif better > 0:
            counts["confirmed"] += 1
        wins = better >= 0 if differs else better > 0
        first, second = (1, 0) if wins else (0, 1)
        kept = [pair[second] if pair[first] is None else pair[first] for pair in pairs]
        expected[key] = (source if wins else stands, *kept)
    merged = merge_rows(METRICS, rows_of(old), rows_of(new))
    assert merged.table.equals(rows_of(expected))
    assert {name: getattr(merged, name) for name in counts} == counts
    assert merged.changed == (expected != old)
    assert not merge_rows(METRICS, merged.table, rows_of(new)).changed
    became = {(row["symbol"], row["ts"]): row for row in merged.table.to_pylist()}
    assert all(became[row["symbol"], row["ts"]] == row for row in merged.replaced_new.to_pylist())
    assert merged.replaced_old.select(list(METRICS.key)).equals(merged.replaced_new.select(list(METRICS.key)))
