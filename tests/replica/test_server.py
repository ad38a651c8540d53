"""The replica as a process: its ready line, its control, its ends, and what faults do to connections."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from tests.fixtures.replica import ROOT, ReplicaFactory, ReplicaHandle, replica_in_loop, start_replica

NOW = parse_time("2026-11-15T12:30:30")


@pytest.fixture(scope="module")
def shared() -> Iterator[ReplicaHandle]:
    """One process for the tests that put back what they change."""
    handle = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    yield handle
    handle.stop()


def test_the_ready_line_promises_only_what_answers(shared: ReplicaHandle) -> None:
    assert shared.origin == "replica:7"
    assert shared.get("/api/v3/time") == shared.get("/fapi/v1/time") == {"serverTime": NOW}
    assert shared.get("/api/v3/ping") == shared.get("/fapi/v1/ping") == {}


def test_it_listens_on_loopback_alone(shared: ReplicaHandle) -> None:
    assert shared.url.startswith("http://127.0.0.1:")
    port = int(shared.url.rpartition(":")[2])
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    bound = {
        line.split()[1].split(":")[0] for line in table if line.split()[1].endswith(f":{port:04X}") and " 0A " in line
    }
    assert bound == {"0100007F"}


def test_a_chinese_symbol_travels_percent_encoded(shared: ReplicaHandle) -> None:
    rows = shared.get("/fapi/v1/klines", symbol="币安人生USDT", interval="1m", limit=2)
    assert len(rows) == 2
    assert shared.get("/api/v3/klines", symbol="币安人生USDT", interval="1m", limit=2)[0][0] == rows[0][0]


def test_an_unknown_path_is_not_found_and_counted(shared: ReplicaHandle) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        shared.get("/fapi/v1/leverageBracket", symbol="BTCUSDT")
    assert caught.value.code == 404
    assert shared.stats()["unknown_paths"]["/fapi/v1/leverageBracket"] >= 1


def test_wrong_control_requests_are_refused_with_a_line(shared: ReplicaHandle) -> None:
    for path, body, words in (
        ("clock", {"sett": 1}, "unknown key sett"),
        ("clock", {"speed": -1}, "speed must be"),
        ("clock", {"set": 10**18}, "from 1970 to 2100"),
        ("clock", {"advance_ms": 10**18}, "from 1970 to 2100"),
        ("limits", {"um": {"weight": 1}}, "unknown key weight"),
        ("faults", {"rules": [{"action": {"boom": 1}}]}, "boom"),
        ("restate", {"market": "um"}, "lacks fields, interval"),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            shared._call(path, body)
        assert caught.value.code == 422
        assert words in json.load(caught.value)["error"]


def test_the_clock_can_be_set_advanced_and_paced(replica: ReplicaHandle) -> None:
    assert replica.now_ms() == NOW
    replica.advance(60)
    assert replica.now_ms() == NOW + 60_000
    assert replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1)[0][0] == NOW + 30_000
    replica.set_clock("2026-11-01T00:00:00")
    assert replica.get("/fapi/v1/time") == {"serverTime": parse_time("2026-11-01")}
    replica._call("clock", {"speed": 100_000})
    while replica.now_ms() < parse_time("2026-11-01T00:01"):
        pass


def test_the_replica_counts_requests_weight_and_refusals(replica: ReplicaHandle) -> None:
    replica.limits(um={"weight_per_minute": 10, "ban_after": 2})
    statuses = []
    for _ in range(6):
        try:
            replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=500)
            statuses.append(200)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    assert statuses == [200, 200, 429, 429, 418, 418]
    um = replica.stats()["um"]
    assert um["requests"] == {"klines": 6}
    assert (um["weight_total"], um["weight_max_minute"], um["rows"]) == (30, 30, 1000)
    assert um["weight_by_minute"] == {"2026-11-15T12:30:00Z": 30}
    assert (um["refused_429"], um["refused_418"]) == (2, 2)
    replica.advance(120)
    assert replica.get("/fapi/v1/ping") == {}
    limits = replica.get("/fapi/v1/exchangeInfo")["rateLimits"]
    assert limits[0]["limit"] == 10
    replica.reset_stats()
    assert replica.stats()["um"]["requests_total"] == 0


def test_a_closed_bar_can_be_restated(replica: ReplicaHandle) -> None:
    def bars(interval: str) -> list[list[object]]:
        bars: list[list[object]] = replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval=interval, limit=10)
        return bars

    before, before_5m = bars("1m"), bars("5m")
    replica.restate("um", "BTCUSDT", "1m", "2026-11-15T12:25:00", close="1.50", trades=9)
    after = bars("1m")
    assert (after[4][4], after[4][8]) == ("1.50", 9)
    after[4][4], after[4][8] = before[4][4], before[4][8]
    assert after == before
    assert bars("5m") == before_5m
    for at, words in (("2026-11-15T12:30:00", "still open"), ("2026-11-15T12:25:30", "no open time"), (0, "no bar")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            replica.restate("um", "BTCUSDT", "1m", at, close="1")
        assert words in json.load(caught.value)["error"]


def test_halts_can_be_looked_up(shared: ReplicaHandle) -> None:
    halts = shared.halts("spot", "2026-01-01", "2026-11-15")
    assert 2 <= len(halts) <= 30
    start, end = (parse_time(halts[0][key]) for key in ("start", "end"))
    around = {"startTime": start - 60_000, "endTime": end, "limit": 1000}
    rows = shared.get("/api/v3/klines", symbol="ETHUSDT", interval="1m", **around)
    assert [row[0] for row in rows] == [start - 60_000, end]
    with pytest.raises(urllib.error.HTTPError):
        shared.halts("moon", "2026-01-01", "2026-11-15")


def raw_get(handle: ReplicaHandle, path: str, timeout: float = 5) -> bytes:
    """What comes over a bare socket until it ends; connection errors are raised."""
    port = int(handle.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def rest_of(connection: socket.socket) -> None:
    """Reads until the end or an error."""
    while connection.recv(65536):
        pass


KLINES = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=300"


def test_faults_reach_the_connection(replica: ReplicaHandle) -> None:
    replica.faults({"action": {"reset": True}})
    with pytest.raises(ConnectionResetError):
        raw_get(replica, KLINES)
    replica.faults({"action": {"reset": {"after": 0.5}}})
    port = int(replica.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {KLINES} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = connection.recv(64)
        assert head.startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionResetError):
            rest_of(connection)
    replica.faults({"action": {"hang": True}})
    with pytest.raises(TimeoutError):
        raw_get(replica, KLINES, timeout=0.2)
    replica.faults({"action": {"half_json": True}})
    with pytest.raises(json.JSONDecodeError):
        replica.get("/fapi/v1/ping")
    replica.faults()
    assert len(replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=300)) == 300


async def test_it_serves_inside_a_tests_event_loop_too() -> None:
    async with (
        replica_in_loop("--speed", "0", "--start", "2026-11-15T12:30:30") as (ready, exchange),
        aiohttp.ClientSession() as client,
        client.get(f"{ready.um_rest}/fapi/v1/time") as answer,
    ):
        assert await answer.json() == {"serverTime": NOW}
        assert exchange.stats.markets[Market.UM].requests == {"time": 1}


def test_a_script_from_a_file_is_in_force_from_the_start(start_exchange: ReplicaFactory, tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("rules:\n  - {name: first, match: {path: '*/time', nth: 1}, action: {status: 503}}\n")
    replica = start_exchange("--faults", str(script))
    with pytest.raises(urllib.error.HTTPError, match="503"):
        replica.get("/fapi/v1/time")
    assert replica.get("/fapi/v1/time")
    assert replica.stats()["faults"] == [{"name": "first", "action": "status", "seen": 2, "applied": 1}]


def test_recordings_are_served_at_their_end_unless_told_otherwise(
    start_exchange: ReplicaFactory, recordings: Path
) -> None:
    replica = start_exchange("--data", str(recordings / "klines_1m"), "--speed", "0")
    assert replica.origin == "replica:recorded"
    assert replica.get("/fapi/v1/time") == {"serverTime": parse_time("2024-10-01")}
    assert replica.get("/fapi/v1/exchangeInfo")["gaplessReplica"] == "recorded"
    assert replica.get("/api/v3/exchangeInfo")["symbols"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_and_cleanly(start_exchange: ReplicaFactory, number: signal.Signals) -> None:
    replica = start_exchange()
    replica.faults({"action": {"hang": True}})
    port = int(replica.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as hanging:
        hanging.sendall(b"GET /fapi/v1/time HTTP/1.1\r\nHost: x\r\n\r\n")
        while not replica.stats()["um"]["requests_total"]:
            pass
        replica.process.send_signal(number)
        assert replica.process.wait(5) == 0


def test_it_ends_with_its_parent() -> None:
    starter = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-m', 'replica', '--die-with-parent'], stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.readline()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.kill()
        parent.wait(5)
        readable, _, _ = select.select([child], [], [], 10)
        assert readable, "the replica outlived its parent"
    finally:
        os.close(child)
        for stream in (parent.stdin, parent.stdout):
            stream.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--generate", "no spaces"], "--generate takes a seed"),
        (["--start", "noon"], "not a time"),
        (["--speed", "-1"], "speed must be"),
        (["--symbols", "0"], "--symbols must be"),
        (["--data", "/nowhere"], "no such folder"),
        (["--data", "/nowhere", "--generate", "1"], "--data serves recordings"),
        (["--faults", "/nowhere"], "cannot read the fault script"),
        (["--port", "99999"], "--port must be"),
        (["--um-weight", "-5"], "weight_per_minute must be"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(options: list[str], words: str) -> None:
    from replica.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("sys.stderr.write", lines.append)
        assert main(options) == 2
    assert words in lines[0]
    assert len(lines) == 1


def test_a_taken_port_is_one_line_and_status_2(shared: ReplicaHandle) -> None:
    port = shared.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "replica", "--port", port],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"replica: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
