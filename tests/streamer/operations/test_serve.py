"""The life of the process: signals end it in order, or at once; errors are one line."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from gapless.config import Settings
from gapless.errors import ConfigError, StorageError
from streamer.operations import serve as serving
from streamer.operations.request import Orders, StreamRequest
from streamer.operations.serve import serve
from streamer.operations.settings import OperationsSettings
from streamer.operations.settings_file import StreamerSettings

PROGRAM = """\
import asyncio, sys
from gapless.config import Settings
from streamer.operations.request import StreamRequest
from streamer.operations.serve import serve
from streamer.operations.settings_file import StreamerSettings

async def session(request, settings, options, *, orders, say):
    print("ready", flush=True)
    if sys.argv[1] == "reload":
        await orders.reload.wait()
        print("read again", flush=True)
    await orders.over.wait()
    if sys.argv[1] == "stuck":
        await asyncio.sleep(3600)
    print("written", flush=True)
    return 0

sys.exit(serve(StreamRequest(), Settings(_env_file=None), StreamerSettings(), session=session))
"""


def start(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "GAPLESS_MODE": "real"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    process = start("well")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "written\n")
    assert f"{number.name}: writing what is under way, then ending" in err


def test_a_second_signal_ends_it_at_once() -> None:
    process = start("stuck")
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM: writing" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "SIGTERM again: ending at once, what was not written is lost" in err


def test_sighup_has_the_list_read_again() -> None:
    process = start("reload")
    assert process.stdout is not None
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "read again\n"
    process.terminate()
    assert process.wait(30) == 0
    process.communicate()


def test_a_stop_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_GRACE_S", 0.01)
    ended: list[str] = []
    said: list[str] = []

    async def waits(
        request: StreamRequest,
        settings: Settings,
        options: StreamerSettings,
        *,
        orders: Orders,
        say: Callable[[str], None],
    ) -> int:
        orders.over.set()
        try:
            return int(await asyncio.sleep(3600, 0))
        finally:
            ended.append("closed")

    hurried = StreamerSettings(operations=OperationsSettings(stop_s=0.01))
    assert serve(StreamRequest(), Settings(), hurried, session=waits, say=said.append) == 1
    assert ended == ["closed"]
    assert said == ["the stop took longer than it may: ending, what was not written is lost or on disk"]


def test_the_first_error_of_tasks_that_end_together_is_what_is_told() -> None:
    async def fails(
        request: StreamRequest,
        settings: Settings,
        options: StreamerSettings,
        *,
        orders: Orders,
        say: Callable[[str], None],
    ) -> int:
        raise ExceptionGroup("tasks", [OSError(1), ExceptionGroup("inner", [StorageError("the disk is full")])])

    with pytest.raises(StorageError, match="the disk is full"):
        serve(StreamRequest(), Settings(), StreamerSettings(), session=fails)


def test_what_is_a_fault_of_ours_stays_a_traceback() -> None:
    async def fails(
        request: StreamRequest,
        settings: Settings,
        options: StreamerSettings,
        *,
        orders: Orders,
        say: Callable[[str], None],
    ) -> int:
        raise ExceptionGroup("tasks", [ZeroDivisionError()])

    with pytest.raises(ExceptionGroup):
        serve(StreamRequest(), Settings(), StreamerSettings(), session=fails)


def test_a_plain_error_passes() -> None:
    async def fails(
        request: StreamRequest,
        settings: Settings,
        options: StreamerSettings,
        *,
        orders: Orders,
        say: Callable[[str], None],
    ) -> int:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        serve(StreamRequest(), Settings(), StreamerSettings(), session=fails)
