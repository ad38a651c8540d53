from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from streamer.outlet.merging import Diff, first_and_last, merge_diffs

prices = st.sampled_from(["1.0", "1.1", "1.2", "1.3"])
levels = st.lists(st.tuples(prices, st.sampled_from(["0.000", "1.500", "2.000"])), max_size=4)


def diff(
    first: int, last: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]], pu: int | None = None
) -> Diff:
    payload = {"e": "depthUpdate", "E": last, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    if pu is not None:
        payload["pu"] = pu
    return Diff(last, last, b"%d" % last, json.dumps(payload | {"new": [1.50, {"a": None}]}).encode())


def book(diffs: list[Diff]) -> tuple[dict[str, str], dict[str, str]]:
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for each in diffs:
        said = json.loads(each.payload)
        bids.update(said["b"])
        asks.update(said["a"])
    return bids, asks


@given(st.lists(st.tuples(st.integers(1, 5), levels, levels), min_size=1, max_size=8), st.booleans())
def test_a_merged_diff_does_to_a_book_what_its_parts_did(
    parts: list[tuple[int, list[tuple[str, str]], list[tuple[str, str]]]], futures: bool
) -> None:
    diffs, last = [], 100
    for width, bids, asks in parts:
        first = last + (3 if futures else 1)  # ids of USD-M leave holes; `pu` joins them
        diffs.append(diff(first, first + width - 1, bids, asks, last if futures else None))
        last = first + width - 1
    merged = merge_diffs(diffs)
    assert len(merged) == 1
    assert book(merged) == book(diffs)
    said, begin, end = json.loads(merged[0].payload), json.loads(diffs[0].payload), json.loads(diffs[-1].payload)
    assert (said["U"], said.get("pu"), said["u"]) == (begin["U"], begin.get("pu"), end["u"])
    assert merged[0].identity == diffs[-1].identity
    assert said["new"] == end["new"]
    assert said["e"] == "depthUpdate"


def test_diffs_between_which_one_is_missing_stay_apart() -> None:
    diffs = [diff(1, 2, [], []), diff(3, 4, [], []), diff(6, 7, [], []), diff(8, 8, [], [])]
    assert [each.identity for each in merge_diffs(diffs)] == [b"4", b"8"]
    assert first_and_last(diffs) == ("1", "8")


def test_a_diff_that_cannot_be_read_stays_as_it_is() -> None:
    odd = Diff(5, 5, b"5", b'{"e":"depthUpdate"}')
    diffs = [diff(1, 2, [], []), diff(3, 4, [], []), odd, diff(5, 6, [], [])]
    merged = merge_diffs(diffs)
    assert [each.identity for each in merged] == [b"4", b"5", b"6"]
    assert merged[1] is odd
    assert first_and_last([odd]) == ("", "5")
