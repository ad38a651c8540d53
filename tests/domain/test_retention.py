"""What may go and what may not: the decisions of retention, on any values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.retention import LoadState, is_final, outlived, overdue, payload_goes
from gapless.domain.window import DAY_MS, HOUR_MS

NOW = 1_800_000_000_000
TIMES = st.integers(NOW - 400 * DAY_MS, NOW + 2 * DAY_MS)
DAYS = st.none() | st.integers(1, 400)
LOADS = st.lists(st.builds(LoadState, st.booleans(), st.booleans()), max_size=4)


@given(TIMES, DAYS, LOADS)
def test_no_payload_goes_that_is_young_or_that_an_open_receipt_names(
    since_ms: int, days: int | None, loads: list[LoadState]
) -> None:
    if payload_goes(since_ms, NOW, days, loads):
        assert days is not None
        assert NOW - since_ms >= days * DAY_MS
        assert loads
        assert all(load.archived for load in loads)
        assert any(load.complete for load in loads)


@given(TIMES, st.integers(1, 400), st.integers(0, 100))
def test_what_has_outlived_its_days_has_also_outlived_fewer_and_goes_on_to(
    since_ms: int, days: int, later: int
) -> None:
    if outlived(since_ms, NOW, days):
        assert all(outlived(since_ms, NOW + later, fewer) for fewer in range(1, days + 1))


def test_days_are_whole_days_to_the_millisecond() -> None:
    assert outlived(NOW - 90 * DAY_MS, NOW, 90)
    assert not outlived(NOW - 90 * DAY_MS + 1, NOW, 90)
    assert not outlived(0, NOW, None), "null keeps for ever"


def test_a_batch_is_final_when_all_of_it_is_archived_and_its_window_was_over() -> None:
    done, running, waiting = LoadState(True, True), LoadState(False, True), LoadState(True, False)
    assert is_final([done])
    assert is_final([running, done]), "the running hour was loaded again when it was over"
    assert not is_final([running])
    assert not is_final([done, waiting])
    assert not is_final([]), "of what left no receipt nothing is known"


def test_a_spooled_hour_is_overdue_so_many_hours_after_its_end() -> None:
    hour = NOW - NOW % HOUR_MS
    assert not overdue(hour, hour + 7 * HOUR_MS - 1, 6)
    assert overdue(hour, hour + 7 * HOUR_MS, 6)
