"""The replica's clock: exchange time at any pace."""

from __future__ import annotations

import time

import pytest

from gapless.errors import ConfigError
from replica.clock import ReplicaClock


class Ticks:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_it_goes_at_its_pace_from_its_start() -> None:
    ticks = Ticks()
    clock = ReplicaClock(1_000_000, 60, monotonic=ticks)
    ticks.seconds += 2.5
    assert clock.now_ms() == 1_150_000


def test_a_frozen_clock_moves_by_hand_alone() -> None:
    ticks = Ticks()
    clock = ReplicaClock(1_000_000, 0, monotonic=ticks)
    ticks.seconds += 100
    assert clock.now_ms() == 1_000_000
    clock.advance(5)
    assert clock.now_ms() == 1_000_005


def test_a_change_of_pace_never_jumps() -> None:
    ticks = Ticks()
    clock = ReplicaClock(0, 10, monotonic=ticks)
    ticks.seconds += 1
    clock.pace(1)
    assert clock.now_ms() == 10_000
    ticks.seconds += 1
    assert clock.now_ms() == 11_000


def test_without_a_start_it_shows_the_hosts_time() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= ReplicaClock().now_ms() <= time.time_ns() // 1_000_000 + 1


@pytest.mark.parametrize("moment", [-1, 4_102_444_800_000])
def test_moments_beyond_its_range_are_refused(moment: int) -> None:
    with pytest.raises(ConfigError, match="1970 to 2100"):
        ReplicaClock(moment)
