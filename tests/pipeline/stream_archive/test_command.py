"""`gapless archive-streams`, as the stack and people start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.live import HOUR_MS, Kind
from gapless.storage.spool import spooled_hours, streams_root
from tests.fixtures.forks import run_forked
from tests.pipeline.stream_archive.writer import EVENT_MS, Writer


@pytest.fixture
def environment(redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "GAPLESS_REDIS_URL": redis_url, "GAPLESS_VAR_DIR": str(tmp_path), "GAPLESS_MODE": "real"}


def archive_streams(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "gapless", "archive-streams", *arguments]
    done = run_forked(command, env=environment, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def taken(consumer: dict[str, Any]) -> dict[str, int]:
    return {kind["kind"]: kind["taken"] for kind in consumer["kinds"]}


def test_once_takes_what_is_there_and_status_tells_of_it(
    environment: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    assert archive_streams(environment, "--status")[0] == 1, "nobody is at work"
    Writer(redis_url).write(range(5))
    Writer(redis_url).write(range(7), Kind.DEPTH)
    status, output, _ = archive_streams(environment, "--once", "--json")
    (once,) = json.loads(output)["consumers"]
    assert (status, taken(once)) == (0, {"trades": 5, "mark_price": 0, "liquidations": 0, "gaps": 0})

    status, output, _ = archive_streams(environment, "--status", "--json")
    assert (status, json.loads(output)["consumers"]) == (0, [once])
    assert "trades" in archive_streams(environment, "--status")[1]
    status, output, _ = archive_streams(environment, "--once", "--json", "--kinds", "depth")
    assert taken(json.loads(output)["consumers"][0]) == {"depth": 7, "gaps": 0}
    hours = spooled_hours(streams_root(tmp_path / "spool"))
    assert [(hour.kind, hour.hour_ms) for hour in hours] == [
        (Kind.DEPTH, EVENT_MS // HOUR_MS * HOUR_MS),
        (Kind.TRADES, EVENT_MS // HOUR_MS * HOUR_MS),
    ]


def test_told_to_end_it_acknowledges_what_it_has_and_ends_well(
    environment: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    writer = Writer(redis_url)
    writer.write(range(10))
    resident = subprocess.Popen(
        [sys.executable, "-m", "gapless", "archive-streams"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        while not [*tmp_path.rglob("*.part"), *tmp_path.rglob("*.seg")]:  # of an hour that is over it closes at once
            assert resident.poll() is None
            time.sleep(0.02)  # a look at the disk, not a wait: without a pause the looking takes the processor
        resident.send_signal(signal.SIGTERM)
        said = resident.communicate(timeout=60)[1]
    finally:
        resident.kill()
        resident.wait()
    assert resident.returncode == 0, said
    assert writer.pending() == 0
    assert len(list(tmp_path.rglob("*.seg"))) == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [(("--kinds", "trades,gaps"), {}, "write some of trades"), (("--kinds", ","), {}, "write some of trades"),
     (("--once",), {"GAPLESS_REDIS_URL": ""}, "GAPLESS_REDIS_URL is not set"),
     (("--once",), {"GAPLESS_RETENTION_FILE": "/nowhere.yaml"}, "/nowhere.yaml")],
)  # fmt: skip
def test_what_a_user_can_get_wrong_is_one_line(
    environment: dict[str, str], arguments: tuple[str, ...], settings: dict[str, str], says: str
) -> None:
    status, output, said = archive_streams(environment | settings, *arguments)
    assert (status, output) == (2, "")
    assert says in said
    assert said.count("\n") == 1


def test_once_without_redis_is_a_failure_and_says_so(environment: dict[str, str]) -> None:
    status, _, said = archive_streams(environment | {"GAPLESS_REDIS_URL": "redis://127.0.0.1:1/0"}, "--once")
    assert status == 1
    assert "Redis is away" in said
