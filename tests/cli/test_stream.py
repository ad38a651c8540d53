"""`gapless stream` and `python -m streamer`: the same command, its options, and how streamers stand."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from gapless.cli import main
from gapless.config import Settings, settings
from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.errors import ConfigError
from streamer.__main__ import main as streamer_main
from streamer.operations.command import add_arguments, request_of
from streamer.operations.settings_file import StreamerSettings, parse_options
from streamer.operations.shards import Shard
from streamer.operations.status import OutletStatus, encode_status, status_key
from tests.streamer.operations.samples import status


@pytest.fixture
def redis_url(redis_databases: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    url = redis_databases()
    monkeypatch.setenv("GAPLESS_REDIS_URL", url)
    settings.cache_clear()
    return url


def asked(*words: str, file: str = "") -> Any:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return request_of(parser.parse_args(words), Settings(), parse_options(file, where="file"))


def put(url: str, *found: Any, expires_s: int = 60) -> None:
    client = Redis.from_url(url)
    for each in found:
        client.set(status_key(each.shard), encode_status(each), ex=expires_s)
    client.close()


def test_what_is_not_given_comes_from_the_file() -> None:
    plain = asked()
    assert (plain.symbols, plain.market, plain.intervals, plain.shard) == (None, None, ("1m",), Shard(0, 1))
    assert (plain.transport, plain.top, plain.books, plain.port) == ("picows", 20, True, 9465)
    assert len(plain.channels) == 6
    file = "operations: {channels: [trades], intervals: [1h, 1m], port: null}\ntransport: {library: websockets}\n"
    changed = asked(file=file + "books: {top_levels: 5}")
    assert (changed.channels, changed.intervals, changed.port) == ((Kind.TRADES,), ("1m", "1h"), None)
    assert (changed.transport, changed.top) == ("websockets", 5)


def test_what_is_given_wins() -> None:
    words = "--symbols BTCUSDT, --market um --channels klines,depth --intervals 1m,4h --transport websockets"
    found = asked(*words.split(), "--shard", "1/4", "--top", "50", "--no-books", "--port", "0", "--host", "::1")
    assert (found.symbols, found.market, found.channels) == ("BTCUSDT", Market.UM, (Kind.DEPTH, Kind.KLINES))
    assert (found.intervals, found.transport, found.shard) == (("1m", "4h"), "websockets", Shard(1, 4))
    assert (found.top, found.books, found.port, found.host) == (50, False, 0, "::1")


@pytest.mark.parametrize(
    ("words", "file", "said"),
    [
        ("--channels trade", "", "--channels trade: write some of depth, trades"),
        ("--intervals 7m", "", "7m"),
        ("--shard 4/4", "", "--shard 4/4: write 0/4"),
        ("--top 0", "", "--top 0: write 1 to 1000"),
        ("--port 70000", "", "--port 70000"),
        ("--symbols ,", "", "--symbols is empty"),
        ("", "transport: {library: curl}", "transport.library curl: write picows or websockets"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(words: str, file: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        asked(*words.split(), file=file)
    assert said in str(error.value)


def test_both_ways_in_show_the_same_help(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for run, words in ((main, ["stream", "--help"]), (streamer_main, ["--help"])):
        with pytest.raises(SystemExit):
            run(words)
        shown.append(" ".join(capsys.readouterr().out.replace("python -m streamer", "gapless stream").split()))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("program", [["gapless", "stream"], ["streamer"]])
def test_wrong_usage_is_status_2_and_one_line(program: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *program, "--channels", "nonsense"],
        env={**os.environ, "GAPLESS_REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "--channels nonsense: write some of" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_help_and_the_status_load_nothing_heavy() -> None:
    code = (
        "import sys, streamer.__main__, streamer.operations.command, streamer.operations.status_view;"
        "print([name for name in ('ccxt', 'pyarrow', 'pandas', 'airflow', 'sqlalchemy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "[]\n"


def test_nobody_at_work_is_status_1(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "--status"]) == 1
    assert "no streamer tells of itself" in capsys.readouterr().out


def test_a_streamer_that_is_well_is_status_0(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(redis_url, status())
    assert main(["stream", "--status"]) == 0
    shown = capsys.readouterr().out
    assert "streamer 0/1" in shown
    assert "BTC/USDT:USDT" in shown
    assert "problem" not in shown


def test_json_has_everything_and_says_what_is_wrong(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    spooling = OutletStatus(connected=True, spooled=3, spool_bytes=300)
    put(redis_url, status(shard="0/2", outlet=spooling), status(shard="1/2"))
    assert main(["stream", "--status", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["shard"] for each in found["streamers"]] == ["0/2", "1/2"]
    assert found["streamers"][1]["streams"][1]["last_id"] == "77"
    assert found["problems"] == ["0/2: 3 entries (0.0 MB) wait on disk for Redis"]
    assert found["errors"] == []


def test_a_redis_that_is_away_is_status_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAPLESS_REDIS_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    assert main(["stream", "--status"]) == 1
    assert "the streamers' state cannot be read from Redis" in capsys.readouterr().err


def test_json_without_status_is_refused(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert streamer_main(["--json"]) == 2
    assert "add --status" in capsys.readouterr().err


def test_defaults_are_valid() -> None:
    assert StreamerSettings().operations.channels == tuple(map(str, asked().channels))
