"""A forked command is a process as any other: streams, environment, folder, status, signals, and an end of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.forks import Forked, run_forked

GAPLESS = [sys.executable, "-m", "gapless"]
REPLICA = [sys.executable, "-m", "replica"]


def test_output_errors_and_status_are_those_of_a_fresh_interpreter() -> None:
    for arguments in (["--version"], ["--nonsense"], ["etl", "--help"]):
        fresh = subprocess.run([*GAPLESS, *arguments], capture_output=True, text=True, check=False)
        forked = run_forked([*GAPLESS, *arguments], text=True)
        assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
        assert forked.stderr == fresh.stderr


def test_it_runs_in_the_environment_and_the_folder_it_is_given(tmp_path: Path) -> None:
    with Forked(REPLICA, env={"ONLY": "this"}, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path
        process.terminate()
    assert process.returncode == 0
    refused = run_forked([*GAPLESS, "query", "ohlcv", "BTC/USDT", "1m"], env={"GAPLESS_LAKE_URI": "no uri"}, text=True)
    assert (refused.returncode, "GAPLESS_LAKE_URI" in refused.stderr) == (2, True)


def test_it_can_be_waited_for_signalled_and_killed() -> None:
    with Forked(REPLICA, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(30) == process.poll() == -signal.SIGKILL
        assert process.stdout.read() == ""


def test_one_that_outlasts_its_time_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_forked(REPLICA, timeout=0.2)


@pytest.mark.parametrize("command", [["true"], [sys.executable, "-c", "pass"], [sys.executable, "-m", "json"]])
def test_what_cannot_be_forked_is_refused(command: list[str]) -> None:
    with pytest.raises(ValueError, match="is forked"):
        Forked(command)
    with pytest.raises(ValueError, match="option of exec"):
        Forked(REPLICA, start_new_session=True)
