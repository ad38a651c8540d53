"""`gapless audit` and `gapless digest` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gapless import cli
from gapless.config import Settings
from tests.bars import bars
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC, SPOT = "BTC/USDT:USDT", "BTC/USDT"


@pytest.fixture
def filled(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Four days across the border between the stores, and commands in this process that work on them."""
    from gapless import config

    settings: Settings = installation.settings
    monkeypatch.setattr(config, "settings", lambda: settings)
    installation.backfill("2026-08-30", "2026-09-03", symbols=f"{BTC},{SPOT}", intervals="4h")
    return installation


def test_an_audit_says_what_it_compared(filled: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--sample", "20", "--seed", "5", "--market", "um"]) == 0
    out, err = capsys.readouterr()
    told = dict(line.split(maxsplit=1) for line in out.splitlines()[1:6])
    assert told == {"seed": "5", "sampled": "20", "matching": "20", "mismatching": "0", "failed": "0"}
    assert err.splitlines()[0] == "seed 5"


def test_an_audit_shows_stored_and_exchange_side_by_side(
    filled: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.exchange.restate("um", "BTCUSDT", "4h", "2026-08-30T00:00", trades=5)
    assert cli.main(["audit", "--sample", "500"]) == 1
    out, _ = capsys.readouterr()
    assert f"differs: {BTC} 4h 2026-08-30T00:00:00Z (lake, from rest): trades differ" in out
    assert "trades: stored " in out
    assert ", exchange 5\n" in out
    assert "500 bars were asked for and 48 are stored: all of them were sampled" in out


def test_digests_are_lines_and_a_sum(filled: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    window = ["digest", "--start", "2026-08-30", "--end", "2026-09-03"]
    assert cli.main(window) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[0].split()[:4] == [SPOT, "4h", "2026-08-30", "6"]
    assert last.startswith("8 days of series, 48 rows, all together ")
    assert cli.main([*window, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [" ".join(line.split()) for line in lines] == [
        f"{each['symbol']} {each['interval']} {each['day']} {each['rows']} {each['sha256']}" for each in told["digests"]
    ]
    assert (told["rows"], told["days"], told["sha256"], told["from"]) == (48, 8, last.split()[-1], "rows")


def test_a_comparison_names_what_differs(
    filled: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    window = ["digest", "--start", "2026-08-30", "--end", "2026-09-04"]
    cli.main([*window, "--json"])
    file = tmp_path / "there.json"
    file.write_text(capsys.readouterr().out)
    assert cli.main([*window, "--compare", str(file)]) == 0
    assert "8 of 8 days of series are alike" in capsys.readouterr().out
    with filled.open() as rt:
        into_mysql(rt, bars(BTC, "4h", "2026-09-03", 2))
    assert cli.main([*window, "--compare", str(file)]) == 1
    out, _ = capsys.readouterr()
    assert out.splitlines()[0] == f"{BTC} 4h 2026-09-03 is missing there, here are 2 rows"
    assert cli.main([*window[:3], "--end", "2026-09-03", "--compare", str(file)]) == 2
    assert "write --start 2026-08-30T00:00:00Z --end 2026-09-04T00:00:00Z" in capsys.readouterr().err


def test_nothing_stored_is_said_and_is_no_error(filled: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    window = ["digest", "--start", "2020-01-01", "--end", "2020-01-02"]
    assert cli.main(window) == 0
    assert "nothing is stored of that" in capsys.readouterr().err
    assert cli.main([*window, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digests"] == []


def test_a_damaged_object_ends_a_digest_with_one_json_object(
    filled: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    with filled.open() as rt:
        into_lake(rt, bars(BTC, "1d", "2026-07-30", 1))
    (damaged,) = [path for path in filled.lake.glob("ohlcv/*1d-2026-07*") if path.is_file()]
    damaged.write_bytes(b"PAR1 nothing PAR1")
    assert cli.main(["digest", "--start", "2026-07-01", "--end", "2026-09-03", "--json"]) == 1
    out, err = capsys.readouterr()
    (error,) = json.loads(out)["errors"]
    assert damaged.name in error["message"]
    assert damaged.name in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digest", "--start", "2026-08-30", "--end", "2026-08-29"], "empty window"),
        (["digest", "--start", "2026-08-30", "--end", "2026-09-03", "--symbols", "BTCUSDT"], "raw symbol"),
        (["digest", "--start", "2026-08-30", "--end", "2026-09-03", "--dataset", "funding", "--intervals", "1h"],
         "has no intervals"),
        (["audit", "--sample", "5", "--intervals", "2h"], "unknown interval"),
        (["audit", "--sample", "5", "--symbols", "BTC/USDT", "--market", "um"], "is a spot symbol"),
        (["audit", "--sample", "5", "--start", "yesterday"], "not a time"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    filled: Installation, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["audit --sample 3", "digest --start 2026-08-30 --end 2026-09-03"])
def test_a_name_that_nothing_answers_to_is_an_error_and_the_rest_is_done(
    filled: Installation, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cli.main([*command.split(), "--symbols", f"{BTC},NOPE/USDT:USDT", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [error["symbol"] for error in told["errors"]] == ["NOPE/USDT:USDT"]
    assert told.get("matching", 3) == 3
    assert told.get("rows", 24) == 24
