"""Two readings of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import METRICS_COLUMNS, SHAPES, Dataset
from gapless.domain.schema import OHLCV_VALUES
from gapless.quality.compare import compare
from tests.bars import bars

BARS = SHAPES[Dataset.OHLCV]
WHOLE = pa.concat_tables(
    [bars("BTC/USDT:USDT", "1m", "2026-11-01", 40, seed=1), bars("币安/USDT", "1m", "2026-11-01", 40, seed=2)]
)
ROWS = WHOLE.num_rows

places = st.sets(st.integers(0, ROWS - 1), max_size=12)


@given(gone=places, unknown=places, altered=st.dictionaries(st.integers(0, ROWS - 1), st.sampled_from(OHLCV_VALUES)))
def test_every_planted_difference_is_found_and_nothing_else(
    gone: set[int], unknown: set[int], altered: dict[int, str]
) -> None:
    unknown = unknown - gone
    stored = WHOLE.take(pa.array([row for row in range(ROWS) if row not in gone]))
    theirs = with_altered(WHOLE, altered).take(pa.array([row for row in range(ROWS) if row not in unknown]))
    found = compare(BARS, stored, theirs)
    assert keys(theirs, found.missing) == keys(WHOLE, gone)
    assert keys(stored, found.extra) == keys(WHOLE, unknown)
    assert keys(theirs, found.different) == keys(WHOLE, set(altered) - gone - unknown)
    assert keys(stored, found.stored_as) == keys(theirs, found.different)


@given(order=st.permutations(range(ROWS)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    found = compare(BARS, WHOLE, WHOLE.take(pa.array(order)))
    assert found.none


def test_where_a_row_came_from_is_no_difference() -> None:
    other = WHOLE.set_column(WHOLE.schema.get_field_index("source"), "source", pa.array([2] * ROWS, pa.uint8()))
    assert compare(BARS, WHOLE, other).none


def test_nothing_against_nothing_is_no_difference() -> None:
    assert compare(BARS, WHOLE.slice(0, 0), WHOLE.slice(0, 0)).none
    assert len(compare(BARS, WHOLE.slice(0, 0), WHOLE).missing) == ROWS
    assert len(compare(BARS, WHOLE, WHOLE.slice(0, 0)).extra) == ROWS


def test_what_they_leave_blank_contradicts_nothing_and_what_we_leave_blank_is_told() -> None:
    said, blank = metrics("1.5"), metrics(None)
    shape = SHAPES[Dataset.METRICS]
    assert compare(shape, said, blank).none
    assert compare(shape, blank, blank).none
    found = compare(shape, blank, said)
    assert (found.told.tolist(), len(found.different)) == ([0], 0)


def metrics(ratio: str | None) -> pa.Table:
    values = {name: [None] for name in METRICS_COLUMNS.names}
    values |= {"exchange": ["binance"], "symbol": ["A/USDT:USDT"], "ts": [0], "source": [1]}
    columns = []
    for field in METRICS_COLUMNS:
        value = pa.array([ratio]).cast(field.type) if field.name == "taker_buy_sell_ratio" else None
        columns.append(pa.array(values[field.name], field.type) if value is None else value)
    return pa.table(columns, schema=METRICS_COLUMNS)


def with_altered(rows: pa.Table, altered: dict[int, str]) -> pa.Table:
    for name in OHLCV_VALUES:
        chosen = np.zeros(ROWS, np.bool_)
        chosen[[row for row, field in altered.items() if field == name]] = True
        if chosen.any():
            column = rows[name].combine_chunks()
            more = pc.add(column, pa.scalar(1, pa.int32())).cast(column.type)
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.if_else(pa.array(chosen), more, column))
    return rows


def keys(rows: pa.Table, chosen: object) -> set[tuple[str, int]]:
    taken = rows.take(pa.array(sorted(int(row) for row in chosen), pa.int64()))  # type: ignore[attr-defined]
    return set(zip(taken["symbol"].to_pylist(), taken["ts"].cast(pa.int64()).to_pylist(), strict=True))
