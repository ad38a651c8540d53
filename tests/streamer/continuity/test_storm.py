"""Random schedules of lanes and REST, against an oracle. See `storm`; more of them by hand."""

from __future__ import annotations

import pytest

from streamer.continuity.settings import ContinuitySettings
from tests.streamer.continuity.storm import Storm


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_every_id_goes_on_once_or_is_told_as_lost(first: int) -> None:
    for seed in range(first, first + 100):
        Storm(seed).run()


def test_with_room_and_a_rest_side_that_answers_nothing_is_lost_and_all_is_in_order() -> None:
    for seed in range(100):
        storm = Storm(seed, ContinuitySettings(hold_ms=10**9))
        storm.rest_fails, storm.room.limit, storm.restarts, storm.never, storm.void = 0, 10**9, 0, set(), set()
        storm.run()
        assert storm.searches.tally.lost == 0 or storm.forgets_below >= 0
        assert storm.emitted == sorted(storm.emitted)
        if storm.forgets_below < 0:
            assert len(storm.emitted) == storm.head - storm.emitted[0]
