"""Liquidations: each there once, numbered within its millisecond, exact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.stream_columns import LIQUIDATIONS
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql import MySql, RefusedRow
from gapless.storage.mysql.liquidations import load_liquidations

COIN = "币安/USDT:USDT"
AT_MS = 1_795_168_800_123  # 2026-11-20T10:00:00.123
AT = datetime(2026, 11, 20, 10, 0, 0, 123_000)  # noqa: DTZ001


@pytest.fixture
def db(emptied: MySql) -> MySql:
    emptied.run("emptying", lambda connection: connection.execute(text("DELETE FROM liquidation")))
    return emptied


def rows(*changed: dict[str, object]) -> pa.Table:
    one: dict[str, object] = {
        "exchange": "binance", "symbol": COIN, "ts": AT_MS, "sequence": 0, "side": "SELL", "order_type": "LIMIT",
        "time_in_force": "IOC", "quantity": Decimal("0.01400000"), "price": Decimal("9910.00000001"),
        "average_price": Decimal(9910), "status": "FILLED", "last_quantity": Decimal("0.014"),
        "accumulated_quantity": Decimal("0.014"), "event_ts": AT_MS + 5, "received_ns": (AT_MS + 40) * 1_000_000 + 7,
    }  # fmt: skip
    return pa.Table.from_pylist([one | each for each in changed], schema=LIQUIDATIONS.schema)


def stored(db: MySql, *columns: str) -> Sequence[tuple[object, ...]]:
    names = ", ".join(columns)
    query = text(f"SELECT {names} FROM liquidation ORDER BY exchange, symbol, ts, sequence")
    return db.run("reading", lambda connection: [tuple(row) for row in connection.execute(query)])


def test_values_are_exact_and_times_to_the_millisecond(db: MySql) -> None:
    assert load_liquidations(db, rows({})) == 1
    assert stored(db, "symbol", "ts", "sequence", "side", "quantity", "price", "event_at", "received_at") == [
        (COIN, AT, 0, "SELL", Decimal("0.01400000"), Decimal("9910.00000001"), AT.replace(microsecond=128_000),
         AT.replace(microsecond=163_000))
    ]  # fmt: skip


def test_one_that_comes_again_adds_nothing_however_it_comes(db: MySql) -> None:
    again = {"received_ns": 8_000_000, "event_ts": AT_MS + 9, "sequence": 3}
    assert load_liquidations(db, rows({}, again)) == 1
    assert load_liquidations(db, rows(again)) == 0
    assert len(stored(db, "sequence")) == 1


def test_several_of_a_millisecond_are_numbered_as_they_come(db: MySql) -> None:
    assert load_liquidations(db, rows({}, {"price": Decimal(2)}, {"symbol": "BTC/USDT:USDT"})) == 3
    assert load_liquidations(db, rows({"price": Decimal(2)}, {"price": Decimal(1)}, {"ts": AT_MS + 1})) == 2
    assert stored(db, "symbol", "sequence", "price") == [
        ("BTC/USDT:USDT", 0, Decimal("9910.00000001")),
        (COIN, 0, Decimal("9910.00000001")),
        (COIN, 1, Decimal(2)),
        (COIN, 2, Decimal(1)),
        (COIN, 0, Decimal("9910.00000001")),
    ]


def test_what_was_refused_goes_to_quarantine_with_them(db: MySql) -> None:
    refused = RefusedRow("binance", COIN, "", AT_MS, "type", "{}", dataset="liquidation")
    assert load_liquidations(db, rows({}).slice(0, 0), refused=[refused], batch_key="0" * 16) == 0
    found = db.run("reading", lambda c: c.execute(text("SELECT dataset, reason, payload FROM quarantine")).all())
    assert [tuple(row) for row in found] == [("liquidation", "type", "{}")]


def test_a_value_that_its_column_cannot_hold_stops_all_of_it(db: MySql) -> None:
    with pytest.raises(StorageError):
        load_liquidations(db, rows({}, {"side": "SELLSELLSELL", "price": Decimal(3)}))
    assert stored(db, "sequence") == []


def test_other_columns_are_refused(db: MySql) -> None:
    with pytest.raises(ValidationError, match="do not have the columns"):
        load_liquidations(db, rows({}).drop_columns(["side"]))
