"""`gapless review`, as a person uses it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from gapless.domain.window import parse_time
from gapless.storage.mysql.reviews import Review, put_reviews
from tests.fixtures.forks import run_forked
from tests.pipeline.conftest import Installation

NOON = parse_time("2026-11-14T12:00")
FIRST = Review(
    "ohlcv", "binance", "BTC/USDT", "1m", NOON, "jump", "9 %", "2 %", "BTC/USDT 1m: it leaps", {"open": "1.00000000"}
)


@pytest.fixture
def queue(installation: Installation) -> Installation:
    put_reviews(installation.db, [FIRST, replace(FIRST, symbol="ETH/USDT:USDT", ts_ms=NOON + 60_000)])
    return installation


def plain(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    result = run_forked(
        [sys.executable, "-m", "gapless", *arguments],
        env=installation.environment, text=True, timeout=60,
    )  # fmt: skip
    return result.returncode, result.stdout, result.stderr


def test_the_queue_is_listed_decided_and_listed_again(queue: Installation) -> None:
    status, found, _ = queue.command("review")
    assert (status, found["waiting"]) == (0, 2)
    first = found["reviews"][0]
    assert (first["symbol"], first["ts"]) == ("BTC/USDT", "2026-11-14T12:00:00Z")
    assert first["values"] == {"open": "1.00000000"}
    assert queue.command("review", "list")[1] == found

    ids = [str(each["id"]) for each in found["reviews"]]
    status, report, _ = queue.command("review", "accept", ids[0], ids[0], "--by", "maria", "--note", "in the news")
    assert (status, report) == (0, {"decided": 1, "changed": 1, "waiting": 1})
    status, report, _ = queue.command("review", "reject", ids[1], "--by", "ivan")
    assert (status, report["waiting"]) == (0, 0)

    assert queue.command("review")[1] == {"waiting": 0, "reviews": []}
    decided = queue.command("review", "list", "--state", "all")[1]["reviews"]
    assert [(each["state"], each["decided_by"], each["note"]) for each in decided] == [
        ("accepted", "maria", "in the news"), ("rejected", "ivan", ""),
    ]  # fmt: skip
    assert queue.rows("SELECT COUNT(*) FROM review") == [(2,)]


def test_the_list_is_filtered_before_and_after_the_word_list(queue: Installation) -> None:
    for arguments in (["--symbols", "ETH/USDT:USDT"], ["list", "--symbols", "ETH/USDT:USDT"]):
        assert [each["symbol"] for each in queue.command("review", *arguments)[1]["reviews"]] == ["ETH/USDT:USDT"]
    assert queue.command("review", "--state", "rejected")[1]["reviews"] == []
    assert queue.command("review", "--state", "rejected", "list")[1]["reviews"] == []
    assert queue.command("review", "--rule", "jump")[1]["waiting"] == 2
    assert queue.command("review", "--rule", "none")[1]["reviews"] == []


def test_a_person_reads_a_table_and_sentences(queue: Installation) -> None:
    status, out, err = plain(queue, "review")
    assert (status, err) == (0, "")
    assert "1: BTC/USDT 1m: it leaps" in out
    assert out.endswith("2 waiting in all\n")
    assert "2 bars rejected" in plain(queue, "review", "reject", "1", "2", "--by", "maria", "--note", "wrong")[1]
    assert plain(queue, "review")[1] == "nothing waits for a decision\n"
    assert "[rejected by maria: wrong]" in plain(queue, "review", "--state", "rejected")[1]


def test_an_unknown_number_decides_nothing(queue: Installation) -> None:
    status, found, err = queue.command("review", "accept", "1", "99", "--by", "maria")
    assert status == 1
    assert found["errors"][0]["kind"] == "not_found"
    assert "99" in err
    assert queue.command("review")[1]["waiting"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["review", "accept"],
        ["review", "accept", "1"],
        ["review", "accept", "one", "--by", "maria"],
        ["review", "accept", "0", "--by", "maria"],
        ["review", "accept", "1", "--by", " "],
        ["review", "accept", "1", "--by", "m" * 65],
        ["review", "approve", "1"],
        ["review", "--state", "gone"],
        ["review", "--symbols", "BTCUSDT"],
        ["review", "--symbols", ","],
    ],
)
def test_wrong_usage_is_status_2_and_a_line(queue: Installation, arguments: list[str]) -> None:
    status, out, err = plain(queue, *arguments)
    assert (status, out) == (2, "")
    assert err.strip()
    assert "Traceback" not in err
