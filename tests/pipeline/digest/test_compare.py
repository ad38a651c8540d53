"""Digests of two installations side by side."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.digest import Comparison, DayDigest, DigestFile, DigestRequest, read_digests

WEEK = Window.of("2026-11-02", "2026-11-09")
REQUEST = DigestRequest(start_ms=WEEK.start_ms, end_ms=WEEK.end_ms)


def day(symbol: str, number: int, sha256: str = "a", *, interval: str = "1m", rows: int = 1440) -> DayDigest:
    return DayDigest(symbol, interval, f"2026-11-{number:02}", rows, sha256)


def compared(
    ours: list[DayDigest],
    theirs: list[DayDigest],
    request: DigestRequest = REQUEST,
    chosen: frozenset[str] | None = None,
) -> Comparison:
    comparison = Comparison(DigestFile(theirs), request, chosen)
    for each in ours:
        comparison.take([each])
    comparison.end()
    return comparison


def test_the_same_on_both_sides_is_alike_in_any_order() -> None:
    both = [day("A/B", 2), day("A/B", 3), day("C/D", 2)]
    found = compared(both, both[::-1])
    assert (found.compared, found.different) == (3, [])


def test_what_differs_or_is_missing_on_either_side_is_named() -> None:
    ours = [day("A/B", 2), day("A/B", 3), day("A/B", 4), day("C/D", 2)]
    theirs = [day("A/B", 2, "b"), day("A/B", 3, rows=7), day("A/B", 5), day("C/D", 2)]
    found = compared(ours, theirs)
    assert found.compared == 5
    assert [(each.day[-1], each.rows, each.other_rows, each.reason) for each in found.different] == [
        ("2", 1440, 1440, "has 1,440 rows, and not the same ones"),
        ("3", 1440, 7, "has 1,440 rows here, 7 there"),
        ("4", 1440, None, "is missing there, here are 1,440 rows"),
        ("5", None, 1440, "is missing here, the other has 1,440 rows"),
    ]


def test_what_was_not_asked_for_is_not_compared() -> None:
    theirs = [day("A/B:B", 2), day("C/D:D", 2), day("E/F", 2), day("A/B:B", 30), day("A/B:B", 2, interval="1h")]
    request = msgspec.structs.replace(REQUEST, market=Market.UM, intervals=(Interval.M1,))
    found = compared([day("A/B:B", 2)], theirs, request, frozenset({"A/B:B"}))
    assert (found.compared, found.different) == (1, [])


def test_digests_of_another_window_or_dataset_are_refused() -> None:
    other = DigestFile([], start="2026-11-02", end="2026-11-08T12:00")
    with pytest.raises(ConfigError, match="write --start 2026-11-02 --end 2026-11-08T12:00"):
        Comparison(other, REQUEST, None)
    with pytest.raises(ConfigError, match="funding_rate"):
        Comparison(DigestFile([], dataset=Dataset.FUNDING), REQUEST, None)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"digests":[{"symbol":1}]}', "digests"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="does not hold digests"):
        read_digests(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_digests(tmp_path / "none.json")
