"""Canonical text and digests of bars."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.schema import OHLCV, PRICE, content_digest, decimal_text
from tests.bars import bars

scaled = st.integers(-(10**20) + 1, 10**20 - 1).map(lambda units: Decimal(units).scaleb(-8))


@given(st.lists(scaled | st.sampled_from([Decimal("0"), Decimal("1E-8"), Decimal("-1E-8")]), max_size=20))
def test_decimal_text_is_plain_and_exact(values: list[Decimal]) -> None:
    text = decimal_text(pa.chunked_array([pa.array(values, PRICE)])).to_pylist()
    assert text == [f"{value:.8f}" if value else "0.00000000" for value in values]


def test_digest_does_not_depend_on_order_chunks_or_source() -> None:
    table = bars("BTC/USDT", "1m", "2026-11-20T00:00", 50)
    mixed = pa.concat_tables([table.slice(20), table.slice(0, 20)])
    renamed = table.set_column(OHLCV.get_field_index("source"), OHLCV.field("source"), pa.array([2] * 50, pa.uint8()))
    assert content_digest(table) == content_digest(mixed) == content_digest(renamed)


def test_digest_changes_with_the_last_digit_of_any_value() -> None:
    table = bars("BTC/USDT", "1m", "2026-11-20T00:00", 3)
    digests = {content_digest(table)}
    for name in OHLCV.names[4:-1]:
        column = table[name].to_pylist()
        column[1] += 1 if name == "trades" else Decimal("0.00000001")
        index = OHLCV.get_field_index(name)
        digests.add(
            content_digest(table.set_column(index, OHLCV.field(index), pa.array(column, OHLCV.field(index).type)))
        )
    assert len(digests) == 10
