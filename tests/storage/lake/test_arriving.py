"""A month that arrives: each object compared first, merged only if it must be, whole in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import Source, sort_bars
from gapless.domain.window import Window, parse_time
from gapless.errors import StorageError, ValidationError
from gapless.storage.lake import layout
from gapless.storage.lake.arriving import Arrival
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.layout import Month
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.merge import merge_rows
from gapless.storage.lake.objects import Damaged, ObjectStore
from gapless.storage.lake.rewriting import ObjectReceipt
from gapless.storage.lake.superseded import list_superseded
from tests.bars import bars
from tests.storage.lake.full_disk import no_file_beyond
from tests.storage.lake.rows import funding, metrics

BARS = SHAPES[Dataset.OHLCV]
JULY = parse_time("2026-07-01")
MINUTES = Month(Dataset.OHLCV, "binance", Interval.M1, JULY)
EVER = Window.of("2015-01-01", "2030-01-01")
SYMBOLS = ("A/USDT", "B/USDT", "币/USDT")


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return BarLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"))


def on_the_ninth(lake: BarLake, symbols: tuple[str, ...] = SYMBOLS) -> Arrival:
    (found,) = [one for one in lake.arrivals(MINUTES, symbols) if one.target.key.endswith("-07-09.parquet")]
    return found


def ninth(symbol: str, count: int = 40, **other: Any) -> pa.Table:
    return bars(symbol, "1m", "2026-07-09", count, **other)


def brought(
    lake: BarLake, spool: Path, arrival: Arrival, *pieces: pa.Table, known: str | None = None, **told: Any
) -> ObjectReceipt | None:
    return lake.bring(arrival, lambda: iter(pieces), known_sha256=known, spool_dir=spool, **told)


def everything(lake: BarLake) -> pa.Table:
    return lake.read(EVER, intervals=ALL_INTERVALS, exchange="binance")


def test_a_month_goes_into_the_objects_of_the_form_it_has(lake: BarLake) -> None:
    days = lake.arrivals(MINUTES, ["B/USDT", "A/USDT", "B/USDT"])
    assert [one.target.key for one in days] == [f"ohlcv/binance-1m-2026-07-{day:02}.parquet" for day in range(1, 32)]
    assert {one.symbols for one in days} == {("A/USDT", "B/USDT")}
    (whole,) = lake.arrivals(Month(Dataset.OHLCV, "binance", Interval.H1, JULY), SYMBOLS)
    assert (whole.target.key, whole.symbols) == ("ohlcv/binance-1h-2026-07.parquet", SYMBOLS)
    many = [f"S{n}/USDT:USDT" for n in range(40)]
    buckets = lake.arrivals(Month(Dataset.METRICS, "binance", None, JULY), many)
    assert sorted(symbol for one in buckets for symbol in one.symbols) == sorted(many)
    assert all(layout.bucket_of(symbol) == one.target.bucket for one in buckets for symbol in one.symbols)
    assert [one.target.key for one in buckets] == sorted(one.target.key for one in buckets)
    assert lake.arrivals(Month(Dataset.OHLCV, "binance", Interval.M5, JULY), []) == []


def test_a_month_that_was_back_filled_cold_keeps_its_buckets(folder_lake: BarLake, tmp_path: Path) -> None:
    number = layout.bucket_of("A/USDT")
    with folder_lake.month_writer(
        Dataset.OHLCV, "binance", Interval.M1, JULY, number, spool_dir=tmp_path / "spool"
    ) as writer:
        writer.add(ninth("A/USDT"))
        writer.finish()
    (arrival,) = folder_lake.arrivals(MINUTES, ["A/USDT"])
    assert arrival.target.bucket == number
    receipt = brought(folder_lake, tmp_path / "spool", arrival, bars("A/USDT", "1m", "2026-07-09", 50))
    assert receipt is not None
    assert (receipt.rows, receipt.added, receipt.unchanged) == (50, 10, 40)


def test_rows_arrive_whole_and_a_target_without_rows_makes_no_object(lake: BarLake, tmp_path: Path) -> None:
    spool, parts = tmp_path / "spool", [ninth(symbol) for symbol in SYMBOLS]
    for arrival in lake.arrivals(MINUTES, SYMBOLS):
        here = parts if arrival.target.key.endswith("-07-09.parquet") else []
        receipt = brought(lake, spool, arrival, *here)
        assert (receipt is None) == (not here)
    assert everything(lake).equals(pa.concat_tables(parts))
    assert [stat.key for stat in lake.store.list("ohlcv/")] == ["ohlcv/binance-1m-2026-07-09.parquet"]
    assert list(spool.iterdir()) == []


def test_an_object_that_holds_all_and_is_known_is_left_alone_unspooled(lake: BarLake, tmp_path: Path) -> None:
    parts, arrival = [ninth(symbol) for symbol in SYMBOLS], on_the_ninth(lake)
    first = brought(lake, tmp_path / "spool", arrival, *parts)
    assert first is not None
    mark = lake.store.head(first.key)
    nowhere = tmp_path / "nowhere"
    again = brought(lake, nowhere, arrival, *parts, known=first.sha256)
    some = brought(lake, nowhere, arrival, parts[1], known=first.sha256)
    nothing = brought(lake, nowhere, arrival, known=first.sha256)
    for receipt, unchanged in ((again, 120), (some, 40), (nothing, 0)):
        assert receipt is not None
        assert (receipt.written, receipt.series, receipt.unchanged, receipt.added) == (False, (), unchanged, 0)
        assert (receipt.rows, receipt.bytes, receipt.sha256) == (120, first.bytes, first.sha256)
        assert receipt.content_digest == first.content_digest
    assert lake.store.head(first.key) == mark
    assert not nowhere.exists()


@pytest.mark.parametrize("known", [None, "0" * 64])
def test_an_object_that_the_books_do_not_know_is_told_with_its_series(
    folder_lake: BarLake, tmp_path: Path, known: str | None
) -> None:
    (first,) = folder_lake.write(ninth("A/USDT"))
    receipt = brought(folder_lake, tmp_path / "spool", on_the_ninth(folder_lake), ninth("A/USDT"), known=known)
    assert receipt is not None
    assert (receipt.written, receipt.sha256, receipt.series) == (False, first.sha256, first.series)


def test_what_differs_is_merged_and_told(lake: BarLake, tmp_path: Path) -> None:
    known = lake.write(pa.concat_tables([ninth("A/USDT"), ninth("B/USDT", 20, source=Source.STREAM)]))[0].sha256
    told: list[tuple[pa.Table, pa.Table]] = []
    restated = ninth("B/USDT", 20, seed=9)
    receipt = brought(
        lake, tmp_path / "spool", on_the_ninth(lake), ninth("A/USDT", 45), restated, ninth("币/USDT"),
        known=known, on_replaced=lambda old, new: told.append((old, new)),
    )  # fmt: skip
    assert receipt is not None
    assert (receipt.written, receipt.rows) == (True, 105)
    assert (receipt.added, receipt.replaced, receipt.unchanged) == (45, 20, 40)
    assert everything(lake).equals(pa.concat_tables([ninth("A/USDT", 45), restated, ninth("币/USDT")]))
    (old, new) = told[-1]
    assert old.equals(ninth("B/USDT", 20, source=Source.STREAM))
    assert new.equals(restated)


def test_what_the_lake_knows_better_stays_and_is_counted(folder_lake: BarLake, tmp_path: Path) -> None:
    better, worse = ninth("A/USDT", source=Source.REST), ninth("A/USDT", seed=9, source=Source.VISION)
    known = folder_lake.write(better)[0].sha256
    told: list[tuple[pa.Table, pa.Table]] = []
    receipt = brought(
        folder_lake, tmp_path, on_the_ninth(folder_lake), worse, known=known,
        on_outranked=lambda stands, refused: told.append((stands, refused)),
    )  # fmt: skip
    assert receipt is not None
    assert (receipt.written, receipt.outranked, receipt.sha256) == (False, 40, known)
    assert [(stands.equals(better), refused.equals(worse)) for stands, refused in told] == [(True, True)]
    confirmed = brought(folder_lake, tmp_path, on_the_ninth(folder_lake), better, known=known)
    assert confirmed is not None
    assert confirmed.unchanged == 40


def test_settlements_and_metrics_arrive_alike(folder_lake: BarLake, tmp_path: Path) -> None:
    paid = pa.concat_tables([funding(symbol, "2026-07-01", 30) for symbol in ("A/USDT:USDT", "B/USDT:USDT")])
    measured = {f"S{n}/USDT:USDT": metrics(f"S{n}/USDT:USDT", "2026-07-01", 30) for n in range(4)}
    (arrival,) = folder_lake.arrivals(Month(Dataset.FUNDING, "binance", None, JULY), ["A/USDT:USDT", "B/USDT:USDT"])
    first = brought(folder_lake, tmp_path, arrival, paid)
    assert first is not None
    again = brought(folder_lake, tmp_path, arrival, paid, known=first.sha256)
    assert again is not None
    assert (first.rows, again.written, again.unchanged) == (60, False, 60)
    for arrival in folder_lake.arrivals(Month(Dataset.METRICS, "binance", None, JULY), list(measured)):
        brought(folder_lake, tmp_path, arrival, *(measured[symbol] for symbol in arrival.symbols))
    stored = folder_lake.read_rows(Dataset.METRICS, EVER)
    assert stored.equals(pa.concat_tables([measured[symbol] for symbol in sorted(measured)]))


def test_rows_that_do_not_belong_are_refused_and_nothing_is_written(folder_lake: BarLake, tmp_path: Path) -> None:
    arrival = on_the_ninth(folder_lake)
    other = ninth("A/USDT").set_column(0, BARS.schema.field(0), pa.array(["kraken"] * 40))
    refused: dict[str, list[pa.Table]] = {
        "another exchange than binance": [other],
        "another interval than 1m": [bars("A/USDT", "5m", "2026-07-09", 3)],
        "of another period": [bars("A/USDT", "1m", "2026-07-08T23:59", 2)],
        "not said to arrive": [ninth("A/USDT"), ninth("C/USDT")],
        "after those of B/USDT": [ninth("B/USDT"), ninth("A/USDT")],
        "after those of A/USDT": [ninth("A/USDT"), bars("A/USDT", "1m", "2026-07-09T05:00", 2)],
        "keys twice": [pa.concat_tables([ninth("A/USDT"), ninth("A/USDT", 1)])],
        "unknown source code": [ninth("A/USDT").set_column(13, BARS.schema.field(13), pa.array([99] * 40, pa.uint8()))],
        "missing or unknown columns": [ninth("A/USDT").drop_columns(["source"])],
    }
    for message, pieces in refused.items():
        with pytest.raises(ValidationError, match=message):
            brought(folder_lake, tmp_path / "spool", arrival, *pieces)
    assert list(folder_lake.store.list("ohlcv/")) == []
    known = folder_lake.write(ninth("A/USDT"))[0].sha256
    doubled = pa.concat_tables([ninth("A/USDT", 1), ninth("A/USDT")])
    with pytest.raises(ValidationError, match="keys twice"):
        brought(folder_lake, tmp_path / "spool", arrival, doubled, known=known)
    assert list((tmp_path / "spool").iterdir()) == []


def test_pieces_that_break_off_leave_the_object_and_no_spool(folder_lake: BarLake, tmp_path: Path) -> None:
    known = folder_lake.write(ninth("A/USDT"))[0].sha256

    def breaks() -> Iterator[pa.Table]:
        yield ninth("A/USDT", 50)
        raise StorageError("the server went away")

    for sha256 in (known, None):
        with pytest.raises(StorageError, match="went away"):
            folder_lake.bring(on_the_ninth(folder_lake), breaks, known_sha256=sha256, spool_dir=tmp_path / "spool")
    assert everything(folder_lake).equals(ninth("A/USDT"))
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_that_is_full_is_said_and_leaves_the_object(folder_lake: BarLake, tmp_path: Path) -> None:
    folder_lake.write(ninth("A/USDT"))
    many = [bars(symbol, "1m", "2026-07-09", 1440) for symbol in SYMBOLS]
    message = r"cannot write the spool of ohlcv/binance-1m-2026-07-09.*make room"
    with no_file_beyond(120_000), pytest.raises(StorageError, match=message):
        brought(folder_lake, tmp_path / "spool", on_the_ninth(folder_lake), *many)
    assert everything(folder_lake).equals(ninth("A/USDT"))
    assert list((tmp_path / "spool").iterdir()) == []
    receipt = brought(folder_lake, tmp_path / "spool", on_the_ninth(folder_lake), *many)
    assert receipt is not None
    assert receipt.rows == 3 * 1440


def test_a_damaged_object_is_named_and_made_anew_in_one_stroke(lake: BarLake, tmp_path: Path) -> None:
    arrival, parts = on_the_ninth(lake), [ninth(symbol) for symbol in SYMBOLS]
    first = brought(lake, tmp_path / "spool", arrival, *parts)
    assert first is not None
    data = lake.store.get(first.key) or b""
    bad = data[:300] + b"\0\0\0\0" + data[304:]
    lake.store.put(first.key, bad)
    with pytest.raises(Damaged) as caught:
        brought(lake, tmp_path / "spool", arrival, *parts, known=first.sha256)
    assert caught.value.uri == first.uri
    assert lake.store.get(first.key) == bad  # readers are told until it is whole again
    healed = brought(lake, tmp_path / "spool", arrival, *parts, known=first.sha256, mend=True)
    assert healed is not None
    assert (healed.written, healed.sha256) == (True, first.sha256)
    assert lake.store.get(first.key) == data
    [kept] = list_superseded(lake.store)
    assert lake.store.get(kept.key) == bad
    again = brought(lake, tmp_path / "spool", arrival, *parts, known=first.sha256, mend=True)
    assert again is not None
    assert not again.written  # a sound object stays


def test_a_damaged_object_of_which_no_row_is_at_hand_stays(lake: BarLake, tmp_path: Path) -> None:
    arrival = on_the_ninth(lake)
    first = brought(lake, tmp_path / "spool", arrival, ninth(SYMBOLS[0]))
    assert first is not None
    bad = (lake.store.get(first.key) or b"")[:-9]
    lake.store.put(first.key, bad)
    with pytest.raises(Damaged, match="no row to make it anew of"):
        brought(lake, tmp_path / "spool", arrival, mend=True)
    assert lake.store.get(first.key) == bad


def some_bars(draw: Callable[..., Any], times: list[int], sources: list[Source]) -> pa.Table:
    parts = []
    for symbol in draw(st.sets(st.sampled_from(SYMBOLS))):
        opens = sorted(draw(st.sets(st.sampled_from(times))))
        seed, source = draw(st.integers(1, 2)), draw(st.sampled_from(sources))
        parts += [bars(symbol, "1m", JULY + at * 60_000, 1, seed=seed, source=source) for at in opens]
    return sort_bars(pa.concat_tables([BARS.schema.empty_table(), *parts]))


@settings(max_examples=60)
@given(data=st.data())
def test_the_short_way_of_a_merge_gives_what_the_long_way_gives(data: st.DataObject) -> None:
    old = some_bars(data.draw, [0, 1, 2], [Source.VISION, Source.REST])
    change = data.draw(st.sampled_from(["same", "source", "other"]))
    new = old
    if change == "source":
        code = data.draw(st.sampled_from(list(Source)))
        new = old.set_column(13, BARS.schema.field(13), pa.array([int(code)] * old.num_rows, pa.uint8()))
    elif change == "other":
        new = some_bars(data.draw, [0, 1, 2], list(Source))
    quick = merge_rows(BARS, old, new)
    long = merge_rows(BARS, old, new, removed=old.slice(0, 0).select(list(BARS.key)))
    for name in ("added", "replaced", "outranked", "filled", "confirmed", "unchanged", "removed", "changed"):
        assert getattr(quick, name) == getattr(long, name), name
    assert quick.table.equals(long.table)
