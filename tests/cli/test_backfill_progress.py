"""What a person sees of a running backfill, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from gapless.cli.backfill_progress import BackfillProgress


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_few_seconds_however_much_happens() -> None:
    out, clock = io.StringIO(), Clock()
    with BackfillProgress(out, monotonic=clock) as progress:
        progress.plan(1000, 44_640_000)
        for _ in range(1000):
            progress.object_done("BTCUSDT-1m-2024-09.zip", 2_000_000)
            progress.rows_done(44_640)
            clock.now += 0.011
    lines = out.getvalue().splitlines()
    assert lines[0] == "to do: 1,000 objects, about 44,640,000 rows"
    assert len(lines) == 1 + 2 + 1, "eleven seconds: two lines, and the last one"
    assert lines[-1].startswith("1,000 of 1,000 objects (2,000.0 MB, ")
    assert "44,640,000 of about 44,640,000 rows" in lines[-1]


def test_a_line_tells_rates_and_the_time_that_is_left() -> None:
    out, clock = io.StringIO(), Clock()
    with BackfillProgress(out, monotonic=clock) as progress:
        progress.plan(4, 1_000_000)
        clock.now += 100
        progress.rows_done(250_000)
        assert "250,000 of about 1,000,000 rows (2,500/s), about 5 min left" in out.getvalue()


def test_more_than_was_estimated_is_no_contradiction() -> None:
    out, clock = io.StringIO(), Clock()
    with BackfillProgress(out, monotonic=clock) as progress:
        progress.plan(1, 100)
        progress.rows_done(150)
        progress.object_done("a.zip", 1)
        progress.object_done("b.zip", 1)
    assert "2 of 2 objects" in out.getvalue()
    assert "150 of about 150 rows" in out.getvalue()


def test_what_is_waited_for_is_said_at_once_and_once() -> None:
    out = io.StringIO()
    with BackfillProgress(out, monotonic=Clock()) as progress:
        for _ in range(3):
            progress.waiting("banned until 17:05")
        progress.waiting(None)
        progress.waiting("the network is away")
    assert out.getvalue().splitlines() == ["waiting: banned until 17:05", "waiting: the network is away"]


def test_a_terminal_shows_two_bars_and_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    out = Terminal()
    with BackfillProgress(out) as progress:
        progress.plan(10, 1_000_000)
        progress.object_done("BTCUSDT-1m-2024-09.zip", 2_000_000)
        progress.rows_done(44_640)
        progress.waiting("banned until 17:05")
        progress._live.refresh()  # type: ignore[union-attr]  # the screen is drawn ten times a second
        shown = out.getvalue()
    assert "1/10" in shown
    assert "44,640/1,000,000" in shown
    assert "BTCUSDT-1m-2024-09.zip" in shown
    assert "waiting: banned until 17:05" in shown
