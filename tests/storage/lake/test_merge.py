"""The merge against a dictionary that does the same bar by bar."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.schema import OHLCV, OHLCV_KEY, OHLCV_VALUES, Source, knowledge, sort_bars
from gapless.errors import LakeShrink, ValidationError
from gapless.storage.lake.merge import merge_rows, refuse_shrinking
from gapless.storage.lake.parquet import row_groups, series_starts

BARS = SHAPES[Dataset.OHLCV]

Key = tuple[str, str, str, int]
Bar = dict[str, Any]

KEYS = st.tuples(
    st.sampled_from(["binance", "okx"]),
    st.sampled_from(["BTC/USDT", "BTC/USDT:USDT", "币安人生/USDT:USDT", "ÄA/USDT", "a/USDT"]),
    st.sampled_from(["1m", "15m", "1h"]),
    st.integers(0, 5).map(lambda n: n * 3_600_000),
)
VALUES = st.tuples(st.integers(-2, 2), st.sampled_from(list(Source)), st.sampled_from(OHLCV_VALUES))
SIDES = st.dictionaries(KEYS, VALUES, max_size=25)


def table_of(side: dict[Key, tuple[int, Source, str]], *, order: list[Key] | None = None) -> pa.Table:
    """Bars that differ in one of the nine values, small or beyond 64 bits."""
    rows = []
    for key in order or list(side):
        number, source, column = side[key]
        bar: Bar = dict(zip(OHLCV_KEY, key, strict=True)) | {name: Decimal(1) for name in OHLCV_VALUES}
        bar["trades"] = 1
        bar[column] = 1 + number if column == "trades" and number >= 0 else 7 if column == "trades" else _wide(number)
        bar["source"] = int(source)
        rows.append(bar)
    return pa.Table.from_arrays([pa.array([r[f.name] for r in rows], f.type) for f in OHLCV], schema=OHLCV)


def _wide(number: int) -> Decimal:
    return Decimal(number) * (Decimal(10) ** 11) + Decimal(number).scaleb(-8)


def dict_of(table: pa.Table) -> dict[Key, Bar]:
    """A table's bars by key, `ts` in ms; fails on a key that comes twice."""
    found: dict[Key, Bar] = {}
    for row in table.set_column(3, "ts", table["ts"].cast(pa.int64())).to_pylist():
        key = tuple(row[name] for name in OHLCV_KEY)
        assert key not in found
        found[key] = row
    return found


def merged_model(old: dict[Key, Bar], new: dict[Key, Bar]) -> tuple[dict[Key, Bar], dict[str, int]]:
    """The rule of the merge, bar by bar."""
    result, counts = dict(old), dict.fromkeys(("added", "replaced", "confirmed", "unchanged", "outranked"), 0)
    for key, bar in new.items():
        if key not in old:
            counts["added"] += 1
            result[key] = bar
            continue
        same = all(bar[name] == old[key][name] for name in OHLCV_VALUES)
        better = knowledge(bar["source"]) - knowledge(old[key]["source"])
        what = ("confirmed" if better > 0 else "unchanged") if same else ("replaced" if better >= 0 else "outranked")
        counts[what] += 1
        if what in ("confirmed", "replaced"):
            result[key] = bar
    return result, counts


@given(SIDES, SIDES, st.randoms(use_true_random=False))
def test_merge_equals_the_model(old: Any, new: Any, rng: Any) -> None:
    order = list(new)
    rng.shuffle(order)
    old_table, new_table = sort_bars(table_of(old)), table_of(new, order=order)
    merged = merge_rows(BARS, old_table, new_table)
    expected, counts = merged_model(dict_of(old_table), dict_of(new_table))
    assert dict_of(merged.table) == expected
    assert merged.table.equals(sort_bars(merged.table))
    assert {name: getattr(merged, name) for name in counts} == counts
    for before, after in zip(merged.replaced_old.to_pylist(), merged.replaced_new.to_pylist(), strict=True):
        assert [before[name] for name in OHLCV_KEY] == [after[name] for name in OHLCV_KEY]
        assert any(before[name] != after[name] for name in OHLCV_VALUES)


@given(SIDES, SIDES)
def test_a_merge_done_twice_changes_nothing_the_second_time(old: Any, new: Any) -> None:
    once = merge_rows(BARS, table_of(old), table_of(new)).table
    again = merge_rows(BARS, once, table_of(new))
    assert not again.changed
    assert again.table.equals(once)


@given(SIDES, SIDES, SIDES)
def test_no_order_of_equally_good_reads_loses_a_bar(a: Any, b: Any, c: Any) -> None:
    one = merge_rows(BARS, merge_rows(BARS, table_of(a), table_of(b)).table, table_of(c)).table
    other = merge_rows(BARS, merge_rows(BARS, table_of(c), table_of(b)).table, table_of(a)).table
    assert dict_of(one).keys() == dict_of(other).keys() == a.keys() | b.keys() | c.keys()


@given(SIDES, SIDES, SIDES)
def test_removing_takes_out_the_named_keys_and_no_other(old: Any, new: Any, removed: Any) -> None:
    merged = merge_rows(BARS, table_of(old), table_of(new), removed=table_of(removed))
    assert dict_of(merged.table).keys() == (old.keys() - removed.keys()) | new.keys()
    assert merged.removed == len((old.keys() & removed.keys()) - new.keys())


@given(SIDES, SIDES, SIDES)
def test_exactly_the_writes_that_lose_unnamed_bars_are_refused(old: Any, written: Any, named: Any) -> None:
    lost = old.keys() - written.keys() - named.keys()
    says = rf"^file:///lake/x\.parquet: the write would lose {len(lost)} of {len(old)} rows"
    with pytest.raises(LakeShrink, match=says) if lost else nullcontext():
        refuse_shrinking(BARS, table_of(old), table_of(written), table_of(named), name="file:///lake/x.parquet")


def test_a_key_that_comes_twice_is_refused_and_named() -> None:
    bar = table_of({("binance", "币安人生/USDT:USDT", "1m", 3_600_000): (1, Source.REST, "open")})
    with pytest.raises(ValidationError, match=r"binance 币安人生/USDT:USDT 1m 1970-01-01T01:00:00Z"):
        merge_rows(BARS, None, pa.concat_tables([bar, bar]))


def test_a_table_that_is_not_canonical_is_refused() -> None:
    bar = table_of({("binance", "BTC/USDT", "1m", 0): (1, Source.REST, "open")})
    with pytest.raises(ValidationError, match="volume"):
        merge_rows(BARS, None, bar.drop_columns(["volume"]))
    with pytest.raises(ValidationError, match="open is double"):
        merge_rows(BARS, None, bar.set_column(4, "open", bar["open"].cast(pa.float64())))
    holes = pa.array([None], OHLCV.field("close").type)
    with pytest.raises(ValidationError, match="1 nulls"):
        merge_rows(BARS, None, bar.set_column(7, pa.field("close", holes.type), holes))


def test_a_source_code_of_the_future_is_refused_not_guessed() -> None:
    bar = table_of({("binance", "BTC/USDT", "1m", 0): (1, Source.REST, "open")})
    strange = bar.set_column(13, OHLCV.field("source"), pa.array([99], pa.uint8()))
    with pytest.raises(ValidationError, match="source code 99"):
        merge_rows(BARS, bar, strange)


@given(st.lists(st.integers(1, 40_000), max_size=8))
def test_row_groups_end_with_a_series_unless_it_alone_is_too_large(sizes: list[int]) -> None:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    starts = pa.array([0, *ends[:-1]] if sizes else [], pa.int64()).to_numpy()
    groups = list(row_groups(starts, sum(sizes)))
    assert [group[0] for group in groups] == [0, *[group[1] for group in groups[:-1]]][: len(groups)]
    assert sum(end - begin for begin, end in groups) == sum(sizes)
    for begin, end in groups:
        assert 0 < end - begin <= 32_768
        assert end in ends or begin in starts or end - begin == 32_768


def test_series_start_where_exchange_symbol_or_interval_changes() -> None:
    keys = [("binance", "A/B", "1m"), ("binance", "A/B", "5m"), ("binance", "C/B", "5m"), ("okx", "C/B", "5m")]
    side = {(*key, hour * 3_600_000): (1, Source.REST, "open") for key in keys for hour in range(2)}
    assert series_starts(sort_bars(table_of(side)), BARS).tolist() == [0, 2, 4, 6]
