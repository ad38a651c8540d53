"""What must always hold of partitions is seen when it does not."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gapless.domain.datasets import Dataset
from gapless.storage.mysql import MySql, strays
from gapless.storage.mysql.partitions import Month, ensure_months
from gapless.storage.mysql.strays import months_ahead, stray_rows

TABLES = [str(dataset) for dataset in Dataset]


def write(db: MySql, day: str) -> None:
    row = f"'X/USDT:USDT', '{day}', 'binance', 'Regular', '{day}', 0, NULL, NULL, 1, 1"
    db.run("writing", lambda c: c.execute(text(f"INSERT INTO funding_rate VALUES ({row})")))


def test_rows_outside_of_all_months_are_counted_up_to_a_bound(emptied: MySql) -> None:
    nothing = {(table, part): 0 for table in TABLES for part in ("p_before", "pmax")}
    assert stray_rows(emptied) == nothing
    for day in ("1969-12-31", "1970-01-01", "2020-01-01"):
        write(emptied, day)
    write(emptied, "2199-01-01")
    assert stray_rows(emptied) == nothing | {("funding_rate", "p_before"): 3, ("funding_rate", "pmax"): 1}


def test_a_count_of_strays_ends_at_its_bound(emptied_mariadb: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "COUNTED", 5)
    rows = ", ".join(
        f"('X/USDT:USDT', '2199-01-01' + INTERVAL {n} SECOND, 'binance', 'Regular', '2199-01-01', 0, NULL, NULL, 1, 1)"
        for n in range(strays.COUNTED + 3)
    )
    emptied_mariadb.run("writing", lambda c: c.execute(text(f"INSERT INTO funding_rate VALUES {rows}")))
    assert stray_rows(emptied_mariadb)["funding_rate", "pmax"] == strays.COUNTED


def test_months_ahead_are_counted_up_to_the_first_hole(emptied: MySql) -> None:
    last = Month(2031, 5)
    ensure_months(emptied, "ohlcv", [last])
    ensure_months(emptied, "funding_rate", [last])
    assert months_ahead(emptied, last.start_ms)["ohlcv"] == 0
    assert months_ahead(emptied, last.start_ms - 1)["ohlcv"] == 1
    assert months_ahead(emptied, Month(2031, 1).start_ms) == {"ohlcv": 4, "funding_rate": 4, "futures_metrics": 0}
    assert months_ahead(emptied, last.window.end_ms) == dict.fromkeys(TABLES, 0)
    emptied.run("dropping", lambda c: c.execute(text("ALTER TABLE ohlcv DROP PARTITION p203103")))
    assert months_ahead(emptied, Month(2031, 1).start_ms)["ohlcv"] == 1  # April's is two months wide
