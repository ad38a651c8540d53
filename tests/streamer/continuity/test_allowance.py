"""How often the search for missing trades may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.continuity.allowance import Allowance


def test_a_minutes_requests_go_at_once_and_the_next_ones_wait_their_turn() -> None:
    allowance = Allowance(6, now_s=0.0)
    assert [allowance.wait_s(0.0) for _ in range(8)] == [0.0] * 6 + [10.0, 20.0]
    assert allowance.wait_s(600.0) == 0.0


@given(st.integers(1, 100), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_has_more_than_twice_the_allowance(a_minute: int, pauses: list[float]) -> None:
    allowance, now_s, made = Allowance(a_minute, 0.0), 0.0, []
    for pause in pauses:
        now_s += pause
        made.append(now_s + allowance.wait_s(now_s))
    assert all(sum(at <= other < at + 60 for other in made) <= 2 * a_minute + 1 for at in made)
