"""Payloads, intermediates and the origin: exact, verified, and never in the way of the bars."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from gapless.errors import NotFound, OriginMismatch, StorageError
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import ObjectStore
from tests.bars import bars


class Page(msgspec.Struct, frozen=True):
    symbol: str
    body: str


PAGES = [Page("币安人生/USDT:USDT", '[[1,"0.10"]]'), Page("A", "<html>\n\u2028not json\r\n</html>"), Page("", "")]
KEY = "raw/ohlcv/binance/um/2026-11-20/16/ab-cd.jsonl.zst"


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


def test_payloads_come_back_as_received(lake: BarLake) -> None:
    size = lake.put_raw(KEY, iter(PAGES))
    assert lake.get_raw(KEY, Page) == PAGES
    assert lake.put_raw(KEY, PAGES) == size == len(lake.store.get(KEY) or b"")
    lake.put_raw("raw/none.jsonl.zst", [])
    assert lake.get_raw("raw/none.jsonl.zst", Page) == []


def test_damaged_payloads_are_noticed_wherever_the_damage_is(tmp_path: Path) -> None:
    lake = BarLake(FileStore(tmp_path), FileLocks(tmp_path / "_locks"))
    lake.put_raw(KEY, PAGES * 50)
    good = lake.store.get(KEY) or b""
    for at in range(len(good)):
        lake.store.put(KEY, good[:at] + bytes([good[at] ^ 0x04]) + good[at + 1 :])
        with pytest.raises(StorageError, match=r"ab-cd\.jsonl\.zst"):
            lake.get_raw(KEY, Page)
    lake.store.put(KEY, good[:-3])
    with pytest.raises(StorageError, match="extract its window again"):
        lake.get_raw(KEY, Page)


def test_a_missing_intermediate_says_what_to_do(lake: BarLake) -> None:
    with pytest.raises(NotFound, match="run the step that makes it again"):
        lake.get_raw(KEY, Page)
    with pytest.raises(NotFound):
        lake.get_table("_work/b/bars-0000000000000000.arrow")


def test_an_intermediate_table_is_exact_and_verified(lake: BarLake) -> None:
    table = bars("币安人生/USDT:USDT", "1m", "2026-11-19", 500)
    key = lake.put_table("batch", "bars", table)
    assert key.startswith("_work/batch/bars-")
    assert lake.get_table(key).equals(table)
    assert lake.put_table("batch", "bars", table.slice(0)) == key
    good = lake.store.get(key) or b""
    lake.store.put(key, good[:900] + b"x" + good[901:])
    with pytest.raises(StorageError, match="digest in its name"):
        lake.get_table(key)
    lake.delete(key)
    assert lake.store.get(key) is None


def test_bars_are_not_deleted_like_intermediates(lake: BarLake) -> None:
    (receipt,) = lake.write(bars("A/USDT", "1m", "2026-11-19", 1))
    with pytest.raises(StorageError, match="canonical rows"):
        lake.delete(receipt.key)


def test_the_first_origin_holds_for_ever(lake: BarLake) -> None:
    lake.claim_origin("replica:7")
    lake.claim_origin("replica:7")
    with pytest.raises(OriginMismatch, match=r"holds data of origin replica:7, not binance.*GAPLESS_LAKE_URI"):
        lake.claim_origin("binance")


def test_of_two_origins_at_once_one_is_refused(lake: BarLake) -> None:
    if not lake.store.conditional:
        pytest.skip("this server ignores conditions; the books in MySQL decide there")

    def claim(origin: str) -> bool:
        try:
            lake.claim_origin(origin)
        except OriginMismatch:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(claim, ("binance", "replica:7"))) == [False, True]
