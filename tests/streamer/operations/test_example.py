"""A reader in another language needs the page and a Redis client, nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable

import msgspec
import pytest
from redis import Redis

from gapless.config import project_root
from gapless.domain.live import Kind, book_key, last_key, stream_key

SYMBOL = "BTC/USDT:USDT"


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("redis-cli")), reason="jq or redis-cli is not installed")
def test_a_shell_reads_book_last_trade_and_trades(redis_databases: Callable[[], str]) -> None:
    url = redis_databases()
    client = Redis.from_url(url)
    head = {"event_ms": 1, "received_ns": 2, "state": "live"}
    book = {**head, "id": 9, "bids": [["1.50", "2.0"]], "asks": [["1.60", "3.0"]]}
    client.set(book_key("top", "binance", SYMBOL), msgspec.json.encode(book))
    trade = {"a": 7, "p": "1.55", "q": "0.1"}
    client.set(last_key(Kind.TRADES, "binance", SYMBOL), msgspec.json.encode({**head, "data": trade}))
    over = threading.Event()

    def trades() -> None:
        while not over.wait(0.02):
            fields = {"e": "1", "r": "2", "i": "8", "d": msgspec.json.encode({**trade, "a": 8})}
            client.xadd(stream_key(Kind.TRADES, "binance", SYMBOL), fields)  # type: ignore[arg-type]

    writing = threading.Thread(target=trades)
    writing.start()
    try:
        result = subprocess.run(
            [project_root() / "examples" / "watch_live.sh", SYMBOL, "2"],
            env={**os.environ, "GAPLESS_REDIS_URL": url}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    finally:
        over.set()
        writing.join()
        client.close()
    assert result.stdout.splitlines() == [
        "book live: 1.50 x 2.0 / 1.60 x 3.0",
        "last trade (live): 1.55 x 0.1",
        "8  1.55 x 0.1",
        "8  1.55 x 0.1",
    ], result.stderr


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_javascript_keeps_a_book_of_its_own(redis_databases: Callable[[], str]) -> None:
    url = redis_databases()
    client = Redis.from_url(url)
    full = {"event_ms": 1, "received_ns": 2, "state": "live", "id": 9}
    levels = {"bids": [["1.50", "2.0"], ["1.40", "9.0"]], "asks": [["1.60", "3.0"]]}
    client.set(book_key("full", "binance", SYMBOL), msgspec.json.encode({**full, **levels}))
    for first, last, before, bids in [
        (6, 8, 5, [["1.55", "1.0"]]),  # it is in the book already
        (9, 11, 8, [["1.50", "0.000"]]),  # overlaps its end
        (12, 12, 11, [["1.45", "4.0"]]),
    ]:
        diff = {"e": "depthUpdate", "U": first, "u": last, "pu": before, "b": bids, "a": []}
        fields = {"e": "1", "r": "2", "i": str(last), "d": msgspec.json.encode(diff)}
        client.xadd(stream_key(Kind.DEPTH, "binance", SYMBOL), fields)  # type: ignore[arg-type]
    result = subprocess.run(
        ["node", project_root() / "examples" / "own_book.mjs", SYMBOL, "1"],
        env={**os.environ, "GAPLESS_REDIS_URL": url}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert client.get(book_key("want", "binance", SYMBOL)) == b"1"
    client.close()
    assert result.stdout.splitlines()[0] == "12  1.45 / 1.6  2 and 1 levels", result.stderr
