"""Which entries of the live Streams go: by age, by size, what is acknowledged first. Pure; the clock is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_AIM = 0.95
"""To which share of the bound a trim by size goes, so that not every look trims a little."""


@dataclass(frozen=True, slots=True)
class StreamSize:
    """What is there of a Stream.

    Attributes:
        bytes: its memory, assumed to be spread evenly over the time between its first and its last entry.
        untaken_id: the oldest entry that the archive has not acknowledged; empty: all may go.
    """

    key: str
    bytes: int
    first_id: str
    last_id: str
    untaken_id: str = ""


@dataclass(frozen=True, slots=True)
class Trim:
    """What goes.

    Attributes:
        min_ids: of each Stream to trim, the id from which entries stay.
        untaken: the Streams of which entries go that are not acknowledged: the bound of size leaves no other way.
    """

    min_ids: dict[str, str]
    untaken: tuple[str, ...] = ()


def id_of(text: str) -> tuple[int, int]:
    """A Stream id as a value that sorts as Redis does: milliseconds and sequence."""
    ms, _, sequence = text.partition("-")
    return int(ms), int(sequence or 0)


def plan_trims(streams: Sequence[StreamSize], *, now_ms: int, minutes: int, bytes_bound: int) -> Trim:
    """What must go now.

    Entries older than `minutes` go once they are acknowledged. When all Streams together are larger than `bytes_bound`,
    the oldest acknowledged ones go too; and only when that is not enough, the oldest of all.
    """
    there = [stream for stream in streams if stream.first_id]
    by_age = now_ms - minutes * 60_000
    kept = {stream.key: _kept_from(stream, by_age) for stream in there}
    untaken: set[str] = set()
    if _left(there, kept) > bytes_bound:
        aim = int(bytes_bound * _AIM)
        kept = _by_size(there, by_age, now_ms, aim, spare_untaken=True)
        if _left(there, kept) > bytes_bound:
            before = kept
            kept = _by_size(there, by_age, now_ms, aim, spare_untaken=False)
            kept = {key: max(kept[key], before[key]) for key in kept}
            untaken = {s.key for s in there if s.untaken_id and id_of(s.untaken_id) < kept[s.key]}
    going = {s.key: f"{kept[s.key][0]}-{kept[s.key][1]}" for s in there if id_of(s.first_id) < kept[s.key]}
    return Trim(going, tuple(sorted(untaken)))


def _by_size(
    streams: Sequence[StreamSize], by_age: int, now_ms: int, aim: int, *, spare_untaken: bool
) -> dict[str, tuple[int, int]]:
    """From where to keep each Stream so that `aim` bytes stay, by one border in time for all."""

    def kept_at(border_ms: int) -> dict[str, tuple[int, int]]:
        return {s.key: _kept_from(s, border_ms, spare_untaken=spare_untaken) for s in streams}

    low = min(by_age, *(id_of(stream.first_id)[0] for stream in streams))
    high = max(now_ms, *(id_of(stream.last_id)[0] for stream in streams)) + 1
    while low < high:
        middle = (low + high) // 2
        if _left(streams, kept_at(middle)) > aim:
            low = middle + 1
        else:
            high = middle
    return kept_at(low)


def _kept_from(stream: StreamSize, border_ms: int, *, spare_untaken: bool = True) -> tuple[int, int]:
    border = (max(border_ms, 0), 0)
    if spare_untaken and stream.untaken_id:
        return min(border, id_of(stream.untaken_id))
    return border


def _left(streams: Sequence[StreamSize], kept: dict[str, tuple[int, int]]) -> float:
    left = 0.0
    for stream in streams:
        first, last = id_of(stream.first_id)[0], id_of(stream.last_id)[0]
        share = (kept[stream.key][0] - first) / (last - first + 1)
        left += stream.bytes * (1 - min(1.0, max(0.0, share)))
    return left
