"""The command line as a person meets it: help with examples, one clear line for mistakes, nothing heavy for nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gapless.cli import _COMMANDS, main


def gapless(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "gapless", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_help_lists_every_command() -> None:
    result = gapless("--help")
    assert result.returncode == 0
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("    ") and line.strip()}
    assert set(_COMMANDS) <= listed


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_s_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"  gapless {command}" in shown[shown.index("example") :]


@pytest.mark.parametrize(
    "arguments",
    [[], ["etl"], ["etl", "ohlcv"], ["nonsense"], ["db", "downgrade"], ["logs"], ["up", "--real", "--demo"]],
    ids=str,
)
def test_wrong_usage_is_status_2_with_a_message_and_no_traceback(arguments: list[str]) -> None:
    result = gapless(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "usage: gapless" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GAPLESS_MYSQL_URL", "postgres://somewhere"),
        ("GAPLESS_LAKE_URI", "/srv/lake"),
        ("GAPLESS_BUDGET_SHARE", "2"),
        ("GAPLESS_HOT_MONTHS", "none"),
        ("GAPLESS_REDIS_URL", "localhost"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(name: str, value: str) -> None:
    result = gapless("db", "upgrade", **{name: value})
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"{name} is wrong" in result.stderr


def test_a_server_that_is_not_there_is_one_line_and_status_1_without_its_password() -> None:
    url = "mysql://gapless:s3cret@127.0.0.1:9/gapless"
    result = gapless("db", "upgrade", "--json", GAPLESS_MYSQL_URL=url, GAPLESS_STORAGE_PATIENCE_S="1")
    assert result.returncode == 1
    assert "127.0.0.1:9" in result.stderr
    assert "s3cret" not in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'pyarrow', 'ccxt', 'sqlalchemy', 'aiohttp', 'numpy'}"
    code = f"import sys; from gapless.cli import _parser; _parser(['etl']); print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
