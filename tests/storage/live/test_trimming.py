"""What leaves the Streams: old entries once they are taken, taken ones by size, others only when nothing else helps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.storage.live import StreamSize, plan_trims
from gapless.storage.live.trimming import id_of

NOW_MS = 1_763_654_400_000
MINUTE = 60_000


def stream(key: str, *, size: int, minutes: tuple[int, int], untaken: int | None = None) -> StreamSize:
    """A Stream from and to so many minutes ago, not taken from so many on."""
    first, last = (f"{NOW_MS - ago * MINUTE}-0" for ago in minutes)
    return StreamSize(key, size, first, last, "" if untaken is None else f"{NOW_MS - untaken * MINUTE}-3")


def plan(*streams: StreamSize, size: int = 1000) -> dict[str, float]:
    """The Streams that lose something, and from how many minutes ago on they stay."""
    found = plan_trims(streams, now_ms=NOW_MS, minutes=15, bytes_bound=size)
    return {key: (NOW_MS - id_of(border)[0]) / MINUTE for key, border in found.min_ids.items()}


def test_old_entries_go_when_they_are_taken() -> None:
    young = stream("young", size=100, minutes=(14, 0), untaken=1)
    assert plan(young) == {}
    assert plan(young, stream("old", size=100, minutes=(40, 0))) == {"old": 15}
    assert plan(young, stream("late", size=100, minutes=(40, 0), untaken=30)) == {"late": 30}
    assert plan(young, stream("stuck", size=100, minutes=(40, 0), untaken=41)) == {}
    assert plan(StreamSize("empty", 100, "", "5-1")) == {}


def test_an_entry_that_is_not_taken_stays_to_the_letter_of_its_id() -> None:
    late = StreamSize("late", 10, f"{NOW_MS - 40 * MINUTE}-0", f"{NOW_MS}-0", f"{NOW_MS - 30 * MINUTE}-7")
    trim = plan_trims([late], now_ms=NOW_MS, minutes=15, bytes_bound=1000)
    assert trim.min_ids == {"late": late.untaken_id}
    assert trim.untaken == ()


def test_too_many_bytes_take_the_oldest_taken_entries_of_all_streams() -> None:
    found = plan(stream("one", size=1000, minutes=(10, 0)), stream("other", size=1000, minutes=(10, 0), untaken=9))
    assert found["other"] == 9
    assert 0 <= found["one"] < 5


def test_only_when_nothing_else_helps_does_what_is_not_taken_go() -> None:
    taken = stream("taken", size=500, minutes=(10, 0))
    waiting = stream("waiting", size=2000, minutes=(10, 0), untaken=10)
    trim = plan_trims([taken, waiting], now_ms=NOW_MS, minutes=15, bytes_bound=1000)
    assert trim.untaken == ("waiting",)
    assert id_of(trim.min_ids["taken"])[0] > NOW_MS, "all that is taken went first"


_streams = st.lists(
    st.builds(
        lambda key, size, first, length, untaken: StreamSize(
            str(key),
            size,
            f"{NOW_MS - first}-0",
            f"{NOW_MS - first + length}-5",
            "" if untaken is None else f"{NOW_MS - first + int(untaken * length)}-2",
        ),
        key=st.integers(0, 5),
        size=st.integers(0, 10**6),
        first=st.integers(0, 10**7),
        length=st.integers(0, 10**7),
        untaken=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.key,
)


@given(_streams, st.integers(1, 30), st.integers(1, 3_000_000))
def test_untaken_entries_go_only_of_those_that_are_named_and_only_when_the_rest_is_gone(
    streams: list[StreamSize], minutes: int, bound: int
) -> None:
    trim = plan_trims(streams, now_ms=NOW_MS, minutes=minutes, bytes_bound=bound)
    for each in streams:
        border = id_of(trim.min_ids.get(each.key, "0-0"))
        assert (bool(each.untaken_id) and border > id_of(each.untaken_id)) == (each.key in trim.untaken)
        if each.key in trim.min_ids:
            assert border > id_of(each.first_id), "no trim that removes nothing"
    if sum(each.bytes for each in streams) <= bound:
        assert trim.untaken == ()
        for each in streams:
            by_age = NOW_MS - minutes * 60_000
            gone = id_of(trim.min_ids.get(each.key, "0-0"))[0]
            assert gone <= by_age
