"""Hours of Streams as objects: a union however the rows come, the same bytes, and no wrong byte goes unseen."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.stream_columns import STREAM_SHAPES, TRADES, StreamShape
from gapless.domain.window import HOUR_MS, parse_time
from gapless.errors import StorageError
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.hour_layout import HourObject, SymbolRange, hour_bucket, parse_hour_key
from gapless.storage.lake.hour_parquet import HourWriter
from gapless.storage.lake.hour_runs import Runs
from gapless.storage.lake.hours import HourLake, Published
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import Damaged, ObjectStore

HOUR = parse_time("2026-11-20T16")
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT")
Trade = tuple[int, int, int]
"""Symbol's number, id, minute."""


def table(trades: list[Trade]) -> pa.Table:
    rows = [
        {
            "exchange": "binance",
            "symbol": SYMBOLS[symbol],
            "ts": HOUR + minute * 60_000,
            "trade_id": number,
            "price": Decimal(number) / 100,
            "quantity": Decimal("0.00000001"),
            "normal_quantity": None if number % 3 else Decimal(number),
            "first_id": number,
            "last_id": number,
            "buyer_is_maker": bool(number % 2),
            "event_ts": HOUR + minute * 60_000,
            "received_ns": number,
        }
        for symbol, number, minute in trades
    ]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in TRADES.schema]
    return pa.Table.from_arrays(columns, schema=TRADES.schema)


def publish(home: Path, pieces: list[list[Trade]], *, run_rows: int = 64, piece_rows: int = 64) -> list[Published]:
    lake = HourLake(FileStore(home / "lake"), FileLocks(home / "locks"), home / "work", piece_rows=piece_rows)
    with Runs(home / "work", TRADES, "binance", run_rows=run_rows) as runs:
        for piece in pieces:
            runs.add(table(piece))
        return [lake.publish(target, runs) for target in runs.finish()]


def objects(home: Path) -> dict[str, bytes]:
    store = FileStore(home / "lake")
    return {stat.key: store.get(stat.key) or b"" for stat in store.list("trades/")}


def ids_in_order(ids: list[tuple[int, int]]) -> list[Trade]:
    """As the exchange gives them: a later id is never earlier; half of the ids lie in the next hour."""
    return [(symbol, number, number * 2) for symbol, number in ids]


@settings(max_examples=12)
@given(
    ids=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 59)), unique=True, max_size=60),
    data=st.data(),
)
def test_rows_in_any_order_cut_and_repetition_make_the_same_objects(ids: list[tuple[int, int]], data: Any) -> None:
    trades = ids_in_order(ids)
    shuffled = data.draw(st.permutations(trades))
    cut = data.draw(st.integers(0, len(trades)))
    again = data.draw(st.integers(0, len(trades)))
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one"), Path(folder, "two")
        publish(one, [trades])
        publish(two, [shuffled[:cut], shuffled[:again]], run_rows=data.draw(st.integers(1, 9)), piece_rows=5)
        late = publish(two, [shuffled[max(0, cut - 3) :]], run_rows=4, piece_rows=data.draw(st.integers(1, 9)))
        assert objects(one) == objects(two)
        stored = [row for data in objects(two).values() for row in pq.read_table(pa.BufferReader(data)).to_pylist()]
        assert sorted((SYMBOLS.index(row["symbol"]), row["trade_id"]) for row in stored) == sorted(ids)
        missing = {(hole.symbol, number) for each in late for hole in each.holes
                   for number in range(hole.first_id, hole.last_id + 1)}  # fmt: skip
        assert not missing & {(SYMBOLS[symbol], number) for symbol, number in ids}


def test_every_missing_id_between_two_stored_ones_is_a_hole(tmp_path: Path) -> None:
    published = publish(tmp_path, [[(0, number, number) for number in (1, 2, 5, 9, 10)]])
    assert [(hole.first_id, hole.last_id, hole.ids) for each in published for hole in each.holes] == [
        (3, 4, 2),
        (6, 8, 3),
    ]


def test_a_footer_tells_of_each_symbol(tmp_path: Path) -> None:
    (published,) = publish(tmp_path, [[(0, 3, 1), (0, 4, 2)]])
    (told,) = published.footer.ranges
    assert (told.symbol, told.rows, told.first_id, told.last_id) == (SYMBOLS[0], 2, 3, 4)
    assert (told.first_ts_ms, told.last_ts_ms) == (HOUR + 60_000, HOUR + 120_000)
    assert published.receipt.period_start == "2026-11-20T16:00:00"


def test_when_a_row_was_seen_is_not_in_the_digest_that_installations_compare(tmp_path: Path) -> None:
    (one,) = publish(tmp_path / "one", [[(0, 3, 1)]])
    later = table([(0, 3, 1)]).set_column(11, TRADES.schema.field("received_ns"), pa.array([99], pa.int64()))
    lake = HourLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"), tmp_path / "work")
    with Runs(tmp_path / "work", TRADES, "binance") as runs:
        runs.add(later)
        (two,) = [lake.publish(target, runs) for target in runs.finish()]
    assert one.receipt.content_digest == two.receipt.content_digest
    assert one.receipt.sha256 != two.receipt.sha256


def refusal(home: Path) -> str | None:
    try:
        publish(home, [[(0, 50, 55)]])
    except StorageError as error:
        return str(error)
    return None


def test_any_wrong_byte_in_a_stored_object_is_noticed_and_nothing_is_built_on_it(tmp_path: Path) -> None:
    publish(tmp_path, [[(0, number, number % 60) for number in range(1, 50)]])
    ((key, good),) = objects(tmp_path).items()
    path, unseen = tmp_path / "lake" / key, 0
    whole = pq.read_table(pa.BufferReader(good))
    for at in range(4, len(good), 37):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
        said = refusal(tmp_path)
        if said is not None:
            assert key in said
            assert path.read_bytes()[at] != good[at], "left as it was found"
        else:
            # A byte of the footer that no reader needs: what was built is right all the same.
            unseen += 1
            built = pq.read_table(path)
            assert built.slice(0, whole.num_rows).sort_by("trade_id").equals(whole.sort_by("trade_id"))
        path.write_bytes(good)
    assert unseen < len(good) / 37 / 4


def test_an_object_that_comes_back_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FileStore.get
    monkeypatch.setattr(FileStore, "get", lambda self, key: (honest(self, key) or b"")[:-1])
    with pytest.raises(Damaged, match="other content came back"):
        publish(tmp_path, [[(0, 1, 1)]])


def test_writers_of_one_object_lose_nothing_to_each_other(lake_store: ObjectStore, tmp_path: Path) -> None:
    lake = HourLake(lake_store, FileLocks(tmp_path / "locks"), tmp_path / "work")
    for number in (1, 2, 3):
        with Runs(tmp_path / "work", TRADES, "binance") as runs:
            runs.add(table([(0, number, number)]))
            (target,) = runs.finish()
            added = lake.publish(target, runs).receipt
    assert (added.added, added.rows) == (1, 3)
    assert sum(rows.num_rows for rows in lake.read("trades", "binance", HOUR)) == 3


@pytest.mark.parametrize("dataset", STREAM_SHAPES)
def test_a_key_names_its_object_and_no_other_key_does(dataset: str) -> None:
    shape = STREAM_SHAPES[dataset]
    target = HourObject(dataset, "binance", HOUR, hour_bucket(shape, SYMBOLS[2]))
    assert parse_hour_key(target.key) == target
    assert target.window.end_ms == HOUR + HOUR_MS
    for wrong in (
        target.key.replace(dataset, "ohlcv"), target.key.replace("T16", "T24"), target.key.replace("-20T", "-32T"),
        f"{dataset}/binance-2026-11-20T16.99.parquet", f"_superseded/{target.key}",
    ):  # fmt: skip
        assert parse_hour_key(wrong) is None


def test_an_object_of_a_release_without_a_column_is_read_with_it_empty_and_merged(tmp_path: Path) -> None:
    new = STREAM_SHAPES["stream_gap"]
    fields = [field for field in new.schema if field.name not in new.added]
    key = tuple(name for name in new.key if name not in new.added)
    old = StreamShape("stream_gap", pa.schema(fields), key, 1)

    def row(at_ms: int, shape: StreamShape) -> pa.Table:
        said = {"exchange": "binance", "symbol": "A/B", "ts": at_ms, "kind": "trades", "reason": "hole", "from_id": "",
                "to_id": "", "count": 1, "repaired": False, "detail": "", "received_ns": 1, "first_identity": "7",
                "last_identity": "7"}  # fmt: skip
        return pa.Table.from_arrays([pa.array([said[f.name]], f.type) for f in shape.schema], schema=shape.schema)

    lake = HourLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"), tmp_path / "work")
    sink = pa.BufferOutputStream()
    writer = HourWriter(sink, old)
    writer.write(row(HOUR, old))
    writer.finish((SymbolRange("A/B", 1, -1, -1, HOUR, HOUR),))
    target = HourObject("stream_gap", "binance", HOUR, None)
    lake.store.put(target.key, sink.getvalue().to_pybytes())
    with Runs(tmp_path / "work", new, "binance") as runs:
        runs.add(row(HOUR + 5, new))
        for each in runs.finish():
            lake.publish(each, runs)
    (rows,) = [rows.to_pylist() for rows in lake.read("stream_gap", "binance", HOUR)]
    assert [(each["first_identity"], each["last_identity"]) for each in rows] == [("", ""), ("7", "7")]
