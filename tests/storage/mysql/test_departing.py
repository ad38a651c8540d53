"""A month as one moment saw it: the same rows, marks and totals whatever is written meanwhile."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from functools import partial

import pyarrow as pa
import pytest
from sqlalchemy import Connection, text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.storage.mysql import MySql, departing, pieces
from gapless.storage.mysql.departing import Mark, MonthRows
from gapless.storage.mysql.leaving import Leaving, exchange_out
from gapless.storage.mysql.partitions import Month
from tests.storage.mysql.bars import make_bars, with_value
from tests.storage.mysql.months import FIRST_HOURS, JULY, PERPS, by_symbol, fill, in_order, july, texts, totals_by_hand


def intervals_of(dataset: Dataset) -> list[Interval | None]:
    return [Interval.M1, Interval.H1] if dataset is Dataset.OHLCV else [None]


def read(rows: MonthRows, dataset: Dataset, symbols: list[str], window: Window = JULY.window) -> pa.Table:
    pieces = [
        piece for interval in intervals_of(dataset) for piece in rows.pieces("binance", symbols, interval, window)
    ]
    return pa.concat_tables([SHAPES[dataset].schema.empty_table(), *pieces])


def nines(precision: int, scale: int) -> Decimal:
    return Decimal(f"{'9' * (precision - scale)}.{'9' * scale}")


@pytest.mark.parametrize("twin", [False, True], ids=["partition", "twin"])
@pytest.mark.parametrize("dataset", list(Dataset))
def test_a_month_is_read_whole_and_exact_with_its_totals(emptied: MySql, dataset: Dataset, twin: bool) -> None:
    stored = july(dataset)
    fill(emptied, dataset, stored)
    later = make_bars(PERPS[:1], Window.of("2026-08-01", "2026-08-01T01:00"))  # another month, another market
    fill(emptied, Dataset.OHLCV, later, key="1" * 16)
    if twin:
        with MonthRows.open(emptied, dataset, JULY) as rows:
            mark = rows.mark()
        assert exchange_out(emptied, Leaving(dataset, JULY), mark)
    with MonthRows.open(emptied, dataset, JULY, twin=twin) as rows:
        found = read(rows, dataset, sorted(by_symbol(stored)))
        assert found.schema == SHAPES[dataset].schema
        assert texts(in_order(dataset, found)) == texts(in_order(dataset, stored))
        by_hand = totals_by_hand(dataset, stored)
        assert rows.totals() == by_hand
        assert rows.series() == {key: totals.rows for key, totals in by_hand.items()}
        some = sorted(by_hand)[1:3]
        assert rows.totals([*some, ("other", PERPS[0], "1m"), ("binance", "NO/SUCH", "")]) == {
            key: by_hand[key] for key in some
        }
        assert rows.totals([]) == {}
        assert rows.mark().rows == stored.num_rows


def test_the_snapshot_sees_nothing_of_what_is_written_after_it_began(emptied: MySql) -> None:
    stored = july(Dataset.OHLCV)
    first = fill(emptied, Dataset.OHLCV, stored).receipt_id
    with MonthRows.open(emptied, Dataset.OHLCV, JULY) as rows:
        restated = with_value(stored, 3, "trades", 7)
        second = fill(emptied, Dataset.OHLCV, restated, key="2" * 16).receipt_id
        assert rows.mark() == Mark(stored.num_rows, first * stored.num_rows)
        assert texts(read(rows, Dataset.OHLCV, PERPS)) == texts(
            pa.concat_tables(
                [
                    in_order(Dataset.OHLCV, stored).filter(
                        pa.compute.equal(in_order(Dataset.OHLCV, stored)["interval"], i)
                    )
                    for i in ("1m", "1h")
                ]
            )
        )
    with MonthRows.open(emptied, Dataset.OHLCV, JULY) as rows:
        assert rows.mark() == Mark(stored.num_rows, first * (stored.num_rows - 1) + second)
        assert str(rows.mark()) == f"{stored.num_rows}:{first * (stored.num_rows - 1) + second}"


def test_every_kind_of_write_changes_the_mark(emptied: MySql) -> None:
    def mark() -> Mark:
        with MonthRows.open(emptied, Dataset.FUNDING, JULY) as rows:
            return rows.mark()

    stored = july(Dataset.FUNDING)
    marks = [mark()]
    fill(emptied, Dataset.FUNDING, stored.slice(1))
    marks.append(mark())
    fill(emptied, Dataset.FUNDING, stored.slice(1), key="1" * 16)  # the same again writes nothing
    assert mark() == marks[-1]
    fill(emptied, Dataset.FUNDING, stored.slice(0, 1), key="2" * 16)  # a row more
    marks.append(mark())
    changed = july(Dataset.FUNDING, seed=1)
    fill(emptied, Dataset.FUNDING, changed.slice(4, 1), key="3" * 16)  # one restated
    marks.append(mark())
    emptied.run("deleting", lambda c: c.execute(text("DELETE FROM funding_rate LIMIT 1")))
    marks.append(mark())
    assert len(set(marks)) == len(marks)


def test_a_month_without_a_partition_has_no_rows(emptied: MySql) -> None:
    for month in (Month(2019, 5), Month(2030, 1)):
        for twin in (False, True):
            with MonthRows.open(emptied, Dataset.METRICS, month, twin=twin) as rows:
                assert (rows.mark(), rows.series(), rows.totals()) == (Mark(0, 0), {}, {})
                assert list(rows.pieces("binance", PERPS, None, month.window)) == []


def test_pieces_hold_whole_symbols_in_the_order_of_their_utf8(
    emptied_mariadb: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 400)
    monkeypatch.setattr(pieces, "_FETCH_ROWS", 7)
    names = [
        "z/USDT:USDT",
        "A/USDT:USDT",
        "ä/USDT:USDT",
        "币/USDT:USDT",
        "😀/USDT:USDT",
        "\uffee/USDT:USDT",
        "B/USDT:USDT",
    ]
    fill(emptied_mariadb, Dataset.OHLCV, make_bars(names, FIRST_HOURS))
    with MonthRows.open(emptied_mariadb, Dataset.OHLCV, JULY) as rows:
        first = Window.of("2026-07-01T00:00", "2026-07-01T03:00")
        found = list(rows.pieces("binance", [*names, "gone/USDT:USDT"], Interval.M1, first))
        whole = pa.concat_tables(found)
        assert list(by_symbol(whole)) == sorted(names, key=lambda name: name.encode())
        assert [piece.num_rows for piece in found] == [360, 180, 360, 360]
        assert whole["ts"].to_pylist() == sorted(set(whole["ts"].to_pylist())) * len(names)
        hour = Window.of("2026-07-01T01:00", "2026-07-01T02:00")
        [part] = rows.pieces("binance", names[:2], Interval.M1, hour)
        assert by_symbol(part) == {"A/USDT:USDT": 60, "z/USDT:USDT": 60}
        assert list(rows.pieces("other", names, Interval.M1, JULY.window)) == []
        assert list(rows.pieces("binance", names, Interval.H4, JULY.window)) == []


def test_funding_of_several_rate_types_comes_in_the_order_of_its_key(emptied: MySql) -> None:
    regular = july(Dataset.FUNDING)
    place = regular.schema.get_field_index("rate_type")
    special = regular.set_column(place, regular.schema.field(place), pa.repeat('Spe"cial,', regular.num_rows))
    stored = pa.concat_tables([special, regular])
    fill(emptied, Dataset.FUNDING, stored)
    with MonthRows.open(emptied, Dataset.FUNDING, JULY) as rows:
        found = pa.concat_tables(rows.pieces("binance", sorted(by_symbol(stored)), None, JULY.window))
        assert texts(found) == texts(in_order(Dataset.FUNDING, stored))
        assert rows.totals() == totals_by_hand(Dataset.FUNDING, stored)


@pytest.mark.parametrize("dataset", list(Dataset))
def test_series_of_several_exchanges_are_told_apart(emptied: MySql, dataset: Dataset) -> None:
    stored = july(dataset)
    fill(emptied, dataset, stored)
    names = ", ".join(f"`{name}`" for name in SHAPES[dataset].schema.names if name != "exchange")
    for exchange in ("aaa", "mmm", "zzz"):
        copy = f"INSERT INTO {dataset} (exchange, {names}, receipt_id) SELECT '{exchange}', {names}, 1 FROM {dataset}"
        where = f" WHERE exchange = 'binance' AND symbol = '{PERPS[1]}'"
        emptied.run("copying", partial(Connection.exec_driver_sql, statement=copy + where))
    by_hand = totals_by_hand(dataset, stored)
    for (_, symbol, label), totals in list(by_hand.items()):
        if symbol == PERPS[1]:
            by_hand |= {(exchange, symbol, label): totals for exchange in ("aaa", "mmm", "zzz")}
    with MonthRows.open(emptied, dataset, JULY) as rows:
        assert rows.totals() == by_hand
        assert rows.series() == {key: totals.rows for key, totals in by_hand.items()}


def test_a_reader_that_goes_away_leaves_the_snapshot_usable(
    emptied_mariadb: MySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 100)
    stored = july(Dataset.OHLCV)
    fill(emptied_mariadb, Dataset.OHLCV, stored)
    with MonthRows.open(emptied_mariadb, Dataset.OHLCV, JULY) as rows:
        reading = rows.pieces("binance", PERPS, Interval.M1, JULY.window)
        next(reading)
        with pytest.raises(StorageError, match="another reading of this snapshot is under way"):
            rows.mark()
        reading.close()  # type: ignore[attr-defined]  # it is a generator
        assert rows.mark().rows == stored.num_rows
        assert rows.totals() == totals_by_hand(Dataset.OHLCV, stored)


def test_a_lost_connection_is_one_clear_error(emptied: MySql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 100)
    fill(emptied, Dataset.OHLCV, july(Dataset.OHLCV))
    with MonthRows.open(emptied, Dataset.OHLCV, JULY) as rows:
        number = rows._connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar()
        emptied.run("killing", lambda c: c.exec_driver_sql(f"KILL {number}"))
        with pytest.raises(StorageError, match=r"reading ohlcv of 2026-07 as it leaves: .*begin again"):
            list(rows.pieces("binance", PERPS, Interval.M1, JULY.window))


def test_the_session_of_a_snapshot_is_not_given_back(emptied: MySql) -> None:
    with MonthRows.open(emptied, Dataset.OHLCV, JULY) as rows:
        rows.mark()
    level = "transaction_isolation" if emptied.dialect.name == "mysql" else "tx_isolation"
    found = emptied.run("asking", lambda c: c.exec_driver_sql(f"SELECT @@SESSION.{level}, @@net_write_timeout").one())
    assert found[0] == "READ-COMMITTED"
    assert found[1] < departing._PATIENCE_S


def test_totals_of_extreme_values_are_exact(emptied: MySql) -> None:
    stored = make_bars(PERPS[:1], FIRST_HOURS)
    for name in ("volume", "quote_volume"):
        for row in (0, 60, 179):
            stored = with_value(stored, row, name, nines(28, 8))
    fill(emptied, Dataset.OHLCV, stored)
    metrics = july(Dataset.METRICS)
    field = metrics.schema.field("open_interest")
    metrics = metrics.set_column(
        metrics.schema.get_field_index("open_interest"), field, pa.array([nines(38, 14)] * metrics.num_rows, field.type)
    )
    fill(emptied, Dataset.METRICS, metrics, key="1" * 16)
    for dataset, rows in ((Dataset.OHLCV, stored), (Dataset.METRICS, metrics)):
        with MonthRows.open(emptied, dataset, JULY) as found:
            assert found.totals() == totals_by_hand(dataset, rows)


def test_a_mark_is_a_value() -> None:
    assert Mark(1, 2) == Mark(1, 2) != dataclasses.replace(Mark(1, 2), receipts=3)
    assert str(Mark(3, 2**64)) == f"3:{2**64}"
