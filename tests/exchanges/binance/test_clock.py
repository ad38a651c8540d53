"""The exchange's clock is bounded from both sides, whatever the drift and the round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.exchanges.binance.clock import ExchangeClock, TimeSample


@given(
    drift=st.floats(-450e-6, 450e-6),
    there_s=st.floats(0, 3),
    back_s=st.floats(0, 3),
    later_s=st.floats(-1, 3_600),
)
def test_the_true_time_lies_between_the_bounds(drift: float, there_s: float, back_s: float, later_s: float) -> None:
    origin_ms, sent = 1_790_000_000_000.4, 100.0

    def truth(at_s: float) -> float:
        return origin_ms + (at_s - sent) * 1000 * (1 + drift)

    received = sent + there_s + back_s
    now = max(received + later_s, sent)
    clock = ExchangeClock(lambda: now)
    clock.take(TimeSample(int(truth(sent + there_s)), sent, received, 0.0))
    bounds = clock.bounds_ms()
    assert bounds
    assert bounds[0] <= truth(now) + 1e-3
    assert int(truth(now) - 1e-3) <= bounds[1]
    assert clock.now_ms() == bounds[0]
    assert bounds[1] - bounds[0] <= (there_s + back_s) * 1001 + 3 + abs(now - sent)


def test_without_a_sample_there_is_no_time() -> None:
    clock = ExchangeClock()
    assert clock.bounds_ms() is None
    assert clock.host_offset_ms is None
    assert clock.stale
    with pytest.raises(LookupError):
        clock.now_ms()


@pytest.mark.parametrize("ahead_ms", [300_000, -300_000, 0])
def test_a_host_that_runs_wrong_shows_in_the_offset_alone(ahead_ms: int) -> None:
    clock = ExchangeClock(lambda: 10.5)
    clock.take(TimeSample(5_000_000, 10.0, 10.2, (5_000_000 + 100 + ahead_ms) / 1000))
    assert clock.host_offset_ms == ahead_ms
    assert clock.now_ms() == 5_000_299
