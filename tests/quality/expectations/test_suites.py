"""The suites as values: one for every table, rules that can be asked, sentences that can be read."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES
from gapless.quality.expectations import SUITES
from gapless.quality.expectations.rules import Columns, Rows, Suite, columns_of, plain, sentence
from gapless.quality.expectations.series import OHLCV
from gapless.storage.mysql.books import metadata

COLUMNS = {name: set(table.columns.keys()) for name, table in metadata.tables.items()} | {
    str(dataset): {*shape.schema.names, "receipt_id"} for dataset, shape in SHAPES.items()
}


def test_every_table_has_a_suite() -> None:
    assert sorted(suite.table for suite in SUITES) == sorted(COLUMNS)
    assert len({suite.name for suite in SUITES}) == len(SUITES)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_what_is_shown_of_a_row_is_a_column_of_its_table(suite: Suite) -> None:
    for rule in suite:
        if isinstance(rule, Rows) and rule.where:
            assert set(columns_of(suite, rule)) <= COLUMNS[suite.table], rule.name
        if isinstance(rule, Columns):
            assert set(rule.columns) == COLUMNS[suite.table]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_rule_says_what_is_wrong_with_a_row(suite: Suite) -> None:
    for rule in suite:
        assert rule.severity in ("critical", "warning")
        assert rule.text
        assert not rule.text.endswith(".")
        if isinstance(rule, Rows):
            said = sentence(suite, rule, dict.fromkeys(columns_of(suite, rule), "7"))
            assert said.startswith("7")
            assert "{" not in said


def test_a_broken_bar_is_named_in_plain_words() -> None:
    rule = OHLCV.rule("high")
    assert isinstance(rule, Rows)
    values = {"open": Decimal("6.00000000"), "high": Decimal("5.00000000"), "low": Decimal("4.5"), "close": Decimal(5)}
    row = {"symbol": "BTC/USDT", "interval": "1m", "ts": datetime(2026, 11, 20, 10, 5), **values}  # noqa: DTZ001
    told = {name: plain(value) for name, value in row.items()}
    assert sentence(OHLCV, rule, told) == "BTC/USDT 1m 2026-11-20T10:05: high 5 is below open 6"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**11), max_value=10**11))
def test_plain_numbers_are_exact(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (Decimal("100"), "100"),
        (datetime(2026, 11, 20, 10, 5, 30), "2026-11-20T10:05:30"),  # noqa: DTZ001
        (datetime(2026, 11, 20), "2026-11-20T00:00"),  # noqa: DTZ001
        (datetime(2026, 11, 20, 0, 0, 0, 3000), "2026-11-20T00:00:00.003000"),  # noqa: DTZ001
        (b"\xff1m", "\ufffd1m"),
        (0, "0"),
    ],
)
def test_plain_values(value: object, text: str) -> None:
    assert plain(value) == text


def test_a_rule_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="a condition or a query"):
        Rows("empty", "text", say="it is so")
    with pytest.raises(ValueError, match="says what is wrong"):
        Rows("mute", "text", "a > 1")
    with pytest.raises(ValueError, match="two rules have one name"):
        Suite("s", "t", "t", "all", (), (OHLCV.rules[2], OHLCV.rules[2]))
