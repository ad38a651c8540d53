"""The book of pages, on both servers: gaps are claimed whole or not at all, beside whoever writes the gap log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gapless.domain.window import HOUR_MS, Window, to_ms
from gapless.storage.mysql import Gap, MySql, read_gaps, record_gaps
from gapless.storage.mysql.page_book import (
    Claim,
    PageDetail,
    StoredPage,
    claim_failed_gaps,
    count_untold,
    put_page,
    put_sent,
    read_page,
    read_pages,
    standing_gaps,
)
from tests.storage.mysql.bars import DAY, HOUR

BTC, CHINESE = "BTC/USDT:USDT", "币安人生/USDT:USDT"
FAILED = Gap("binance", BTC, "ohlcv", "1m", HOUR, 60, "failed", "why", 3)
NOW = to_ms(datetime(2026, 11, 21, 12, tzinfo=UTC))
PAGE = StoredPage(
    "gap-1", "gap", "60 rows of 币安人生", PageDetail({"rows": 60}, "here", "ohlcv", "binance"), "sending", NOW
)


def one_page(gaps: Sequence[Gap], pages: Sequence[StoredPage]) -> list[Claim]:
    return [(replace(PAGE, key=f"gap-{gaps[0].dataset}"), [gap.id for gap in gaps])]


def test_pages_come_back_as_they_were_put(database: MySql) -> None:
    told = replace(
        PAGE,
        key="gap-2",
        state="sent",
        created_ms=NOW + 1,
        sent_ms=NOW + 2,
        detail=PageDetail({"a": [1, None]}, "here", "ohlcv", "binance", "l", "r", 2, ("x", "y"), {"x": 2}, ("y",)),
    )
    for page in (told, PAGE, replace(PAGE, summary="again")):
        put_page(database, page)
    assert read_pages(database, ("sending", "sent")) == [replace(PAGE, summary="again"), told]
    assert read_pages(database, ("sending", "sent"), newest=1) == [told]
    assert read_pages(database, ("resolved",)) == []
    assert read_page(database, "gap-2") == told
    assert read_page(database, "gap-3") is None


def test_each_failed_gap_is_claimed_once(database: MySql) -> None:
    funding = replace(FAILED, dataset="funding_rate", interval="", bars=1)
    record_gaps(
        database, [FAILED, replace(FAILED, symbol=CHINESE), replace(FAILED, interval="1h", state="open")], within={}
    )
    record_gaps(database, [funding], within={}, dataset="funding_rate")
    assert count_untold(database) == 3
    assert [page.key for page in claim_failed_gaps(database, one_page)] == ["gap-funding_rate", "gap-ohlcv"]
    assert claim_failed_gaps(database, one_page) == []
    standing = standing_gaps(database, ["gap-ohlcv", "gap-funding_rate", "gap-x"])
    assert {key: [gap.symbol for gap in gaps] for key, gaps in standing.items()} == {
        "gap-ohlcv": [BTC, CHINESE],
        "gap-funding_rate": [BTC],
    }
    assert count_untold(database) == 3
    [ohlcv] = [page for page in read_pages(database, ("sending",)) if page.key == "gap-ohlcv"]
    put_sent(database, replace(ohlcv, state="sent", sent_ms=NOW), NOW)
    assert count_untold(database) == 1


def test_what_cannot_be_decided_is_not_claimed(database: MySql) -> None:
    def fail_half_way(gaps: Sequence[Gap], pages: Sequence[StoredPage]) -> list[Claim]:
        raise RuntimeError("killed here")

    record_gaps(database, [FAILED], within={})
    with pytest.raises(RuntimeError):
        claim_failed_gaps(database, fail_half_way)
    assert read_pages(database, ("sending",)) == []
    assert [gap.page_key for gap in read_gaps(database, "binance", "ohlcv", DAY)] == [None]


def waits_for_a_lock(db: MySql) -> bool:
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock' AND db = DATABASE()"
    return db.run("looking for who waits", lambda connection: connection.exec_driver_sql(query).scalar() == 1)


@pytest.mark.parametrize("act", ["claim", "note"])
def test_pages_wait_for_a_look_that_is_being_recorded(database: MySql, act: str) -> None:
    """Who records a look puts back what it read: what changes between its reading and its writing would be lost."""
    record_gaps(database, [FAILED], within={})
    if act == "note":
        claim_failed_gaps(database, one_page)
    action = (
        (lambda: claim_failed_gaps(database, one_page))
        if act == "claim"
        else (lambda: put_sent(database, replace(PAGE, key="gap-ohlcv"), NOW))
    )
    pager = threading.Thread(target=action)
    with database.named_locks(["gaps:binance:ohlcv"]):
        pager.start()
        while not waits_for_a_lock(database):
            assert pager.is_alive(), "it did not wait"
        assert read_gaps(database, "binance", "ohlcv", DAY)[0].page_key == (None if act == "claim" else "gap-ohlcv")
    pager.join(60)
    assert [gap.page_key for gap in read_gaps(database, "binance", "ohlcv", DAY)] == ["gap-ohlcv"]


def test_a_page_ends_with_its_last_standing_gap(database: MySql) -> None:
    far = replace(FAILED, window=Window(HOUR.start_ms + 5 * HOUR_MS, HOUR.end_ms + 5 * HOUR_MS))
    record_gaps(database, [FAILED, far], within={})
    claim_failed_gaps(database, one_page)
    for state in ("open", "refilling", "failed"):
        record_gaps(database, [replace(FAILED, state=state)], within={})
        assert len(standing_gaps(database, ["gap-ohlcv"])["gap-ohlcv"]) == 2
    record_gaps(database, [replace(FAILED, state="unfillable")], within={(BTC, "1m"): [DAY]})
    assert standing_gaps(database, ["gap-ohlcv"]) == {}
    assert standing_gaps(database, []) == {}
