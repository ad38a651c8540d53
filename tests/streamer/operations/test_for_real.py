"""The command as a process, against the replica and a real Redis: starts, shares, follows, answers, ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from gapless.config import project_root
from gapless.domain.instrument import Market
from gapless.exchanges.binance.symbols import parse_exchange_info
from streamer.operations.status import StreamerStatus
from streamer.operations.status_view import read_states, verdict
from tests.streamer.operations.samples import write

ROOT = project_root()
LIST = "markets:\n  spot: [BTC/USDT]\n  um: [{}]\n"


@pytest.fixture(scope="module")
def exchange() -> Iterator[dict[str, str]]:
    """A replica's addresses."""
    command = [sys.executable, "-m", "replica", "--generate", "7", "--die-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


@pytest.fixture
def environment(redis_databases: Callable[[], str], exchange: dict[str, str], tmp_path: Path) -> dict[str, str]:
    symbols = tmp_path / "symbols.yaml"
    symbols.write_text(LIST.format("'BTC/USDT:USDT'"))
    return {
        **os.environ,
        "GAPLESS_MODE": "demo",
        "GAPLESS_REDIS_URL": redis_databases(),
        "GAPLESS_VAR_DIR": str(tmp_path / "var"),
        "GAPLESS_SYMBOLS_FILE": str(symbols),
        "GAPLESS_BINANCE_SPOT_REST_URL": exchange["spot_rest"],
        "GAPLESS_BINANCE_UM_REST_URL": exchange["um_rest"],
        "GAPLESS_BINANCE_SPOT_WS_URL": exchange["spot_ws"],
        "GAPLESS_BINANCE_UM_WS_URL": exchange["um_ws"],
    }


class Running:
    """A sidecar's process."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.url = environment["GAPLESS_REDIS_URL"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamer", "--port", "0", *words],
            env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def states(self, wanted: Callable[[list[StreamerStatus]], object]) -> list[StreamerStatus]:
        """What all streamers of this Redis say, as soon as it is what is wanted."""
        found: list[StreamerStatus] = []
        for _ in range(600):
            assert self.process.poll() is None, self.process.communicate()[1]
            found = read_states(self.url)
            if wanted(found):
                return found
            time.sleep(0.05)
        raise AssertionError(found)

    def line(self, about: str) -> str:
        """The next line of the log that says it."""
        assert self.process.stderr is not None
        return next(line for line in self.process.stderr if about in line)

    def end(self) -> str:
        """SIGTERM; what it said."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        return said


def symbols(found: list[StreamerStatus]) -> list[str]:
    return sorted({stream.symbol for status in found for stream in status.streams})


def well(found: list[StreamerStatus]) -> bool:
    return bool(found) and not verdict(found) and all(stream.messages for stream in found[0].streams)


def page(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_it_streams_answers_follows_its_list_and_ends_in_order(environment: dict[str, str]) -> None:
    with Running(environment, "--channels", "trades,depth,mark_price") as running:
        url = running.line("health and metrics: ").rpartition(" ")[2].strip().removesuffix("/metrics")
        (status,) = running.states(well)
        assert (status.shard, status.symbols, status.transport) == ("0/1", 2, "picows")
        assert {(book.symbol, book.state) for book in status.books} == {("BTC/USDT", "live"), ("BTC/USDT:USDT", "live")}
        assert page(f"{url}/healthz")[0] == 200
        assert page(f"{url}/readyz")[0] == 200
        told = page(f"{url}/metrics")[1]
        assert 'collector_in_msgs_total{exchange="binance",symbol="BTC/USDT:USDT"}' in told
        assert 'streamer_books{market="um",state="live"} 1.0' in told
        assert 'event_end2end_latency_ms_bucket{le="1.0"}' in told

        write(Path(environment["GAPLESS_SYMBOLS_FILE"]), LIST.format("'BTC/USDT:USDT', 'ETH/USDT:USDT'"))
        (status,) = running.states(lambda found: len(symbols(found)) == 3 and well(found))
        assert max(lane.reconnects for lane in status.lanes) == 0, "what was there is not disturbed"

        shown = subprocess.run(
            [sys.executable, "-m", "gapless", "stream", "--status", "--json"],
            env=environment, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(shown.stdout)
        assert (shown.returncode, answer["problems"]) == (0, [])
        said = running.end()
        assert "all was written" in said
    client = Redis.from_url(environment["GAPLESS_REDIS_URL"])
    entries: Any = client.xrange("md.trades.binance.BTC/USDT:USDT")
    ids = [int(fields[b"i"]) for _, fields in entries]
    assert ids == list(range(ids[0], ids[0] + len(ids))), "every trade once, in order"
    client.close()


def test_two_shards_stream_each_symbol_once(environment: dict[str, str]) -> None:
    words = ("--symbols", "all:USDT", "--market", "um", "--channels", "mark_price", "--no-books", "--shard")
    with Running(environment, *words, "0/2") as one, Running(environment, *words, "1/2") as other:
        first, second = one.states(lambda found: len(found) == 2 and all(map(well_alone, found)))
        assert verdict([first, second]) == []
        mine, theirs = symbols([first]), symbols([second])
        one.end()
        other.end()
    with urllib.request.urlopen(
        f"{environment['GAPLESS_BINANCE_UM_REST_URL']}/fapi/v1/exchangeInfo", timeout=30
    ) as answer:
        listed = parse_exchange_info(answer.read().decode(), Market.UM).instruments
    assert mine
    assert theirs
    assert sorted(mine + theirs) == sorted(each.symbol for each in listed if each.trading and each.quote == "USDT")


def well_alone(status: StreamerStatus) -> bool:
    return bool(status.streams) and all(stream.messages for stream in status.streams)
