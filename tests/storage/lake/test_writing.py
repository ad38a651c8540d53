"""One object written in pieces: the bytes of the same rows at once, and nothing believed that was not read back."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.interval import Interval
from gapless.domain.schema import content_digest
from gapless.domain.window import parse_time
from gapless.storage.lake.merge import times
from gapless.storage.lake.objects import Damaged
from gapless.storage.lake.parquet import decode, series_starts
from gapless.storage.lake.writing import ObjectWriter, check_contents, encode
from tests.bars import bars

BARS = SHAPES[Dataset.OHLCV]
START = parse_time("2019-04-01")


def of_symbol(number: int, count: int) -> pa.Table:
    """Many bars, quickly: a few repeated, at their own times."""
    some = bars(f"S{number:03}/USDT", "1m", START, 7, seed=number)
    ts = pa.array(range(START, START + count * 60_000, 60_000), pa.int64()).cast(BARS.schema.field("ts").type)
    return some.take([n % 7 for n in range(count)]).set_column(3, BARS.schema.field("ts"), ts)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([1, 2, 700, 2768, 20_000, 32_767, 32_768, 40_000, 70_000]), min_size=1, max_size=5))
def test_the_bytes_do_not_depend_on_the_pieces(sizes: list[int]) -> None:
    parts = [of_symbol(n, size) for n, size in enumerate(sizes)]
    sink = pa.BufferOutputStream()
    with ObjectWriter(sink, BARS) as writer:
        for part in parts:
            writer.write(part)
        contents = writer.finish()
    whole = pa.concat_tables(parts)
    at_once, told = encode(whole, BARS)
    assert sink.getvalue().to_pybytes() == at_once
    assert contents == told
    assert contents.content_digest == content_digest(whole)
    assert decode(at_once, BARS, name="x").equals(whole)
    check_contents(at_once, BARS, contents, name="x")


UNITS = st.one_of(st.integers(0, 10**9), st.integers(0, 10**20 - 1), st.sampled_from([0, 1, 10**8, 10**8 - 1, 2**63]))


@given(st.lists(st.tuples(UNITS, st.integers(0, 2**32 - 1)), min_size=1, max_size=12), st.booleans())
def test_digests_are_those_of_the_plain_definition_for_every_value(values: list[tuple[int, int]], two: bool) -> None:
    rows = []
    for number, (units, trades) in enumerate(values):
        row = dict.fromkeys(BARS.values, Decimal(units).scaleb(-8))
        symbol = "B/USDT" if two and number > len(values) // 2 else "A/USDT"
        keys = {"exchange": "binance", "symbol": symbol, "interval": "1m", "ts": START + number * 60_000}
        rows.append(row | keys | {"trades": trades, "source": 1})
    whole = pa.Table.from_arrays(
        [pa.array([row[f.name] for row in rows], f.type) for f in BARS.schema], BARS.schema.names
    )
    whole = whole.cast(BARS.schema)
    digest, series = digests(whole, BARS)
    assert digest == content_digest(whole)
    for one in series:
        assert one.sha256 == content_digest(whole.filter(pc.equal(whole["symbol"], one.symbol)))
    assert digests(whole.slice(1), BARS)[0] == content_digest(whole.slice(1))


def test_other_rows_than_were_written_are_noticed() -> None:
    rows = bars("A/USDT", "1m", START, 50)
    _, contents = encode(rows, BARS)
    column = rows["taker_buy_volume"].to_pylist()
    column[31] += 1
    number = rows.column_names.index("taker_buy_volume")
    other = rows.set_column(number, BARS.schema.field(number), pa.array(column, BARS.schema.field(number).type))
    with pytest.raises(Damaged, match="not the rows written"):
        check_contents(encode(other, BARS)[0], BARS, contents, name="x")


def test_times_and_series_are_those_of_the_rows() -> None:
    rows = pa.concat_tables([of_symbol(n, 3) for n in range(3)])
    assert series_starts(rows, BARS).tolist() == [0, 3, 6]
    assert times(rows)[:3].tolist() == [START, START + Interval.M1.ms, START + 2 * Interval.M1.ms]
