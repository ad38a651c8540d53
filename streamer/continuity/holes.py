"""Ranges of ids, and lists of disjoint ascending holes among them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class Range(NamedTuple):
    """Ids from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def ids(self) -> int:
        return self.last - self.first + 1


class Lost(NamedTuple):
    """Ids that were given up, and why. `came`: they were no hole, but taken for others that came before."""

    first: int
    last: int
    why: str
    came: bool = False


class Hole:
    """Ids that are missing.

    Attributes:
        since_ns: when it was first looked at; -1: not yet.
        asked: whether somebody was told to search for it.
    """

    __slots__ = ("asked", "first", "last", "since_ns")

    def __init__(self, first: int, last: int, since_ns: int = -1, asked: bool = False) -> None:
        self.first = first
        self.last = last
        self.since_ns = since_ns
        self.asked = asked

    def age_ns(self, now_ns: int) -> int:
        """Since the first look at it, which this may be."""
        if self.since_ns < 0:
            self.since_ns = now_ns
        return now_ns - self.since_ns


def first_of(hole: Hole) -> int:
    """The key that holes are sorted by."""
    return hole.first


def cut(holes: list[Hole], id: int) -> bool:
    """Take one id out of the hole that it lies in; whether it lay in one."""
    at = bisect_right(holes, id, key=first_of) - 1
    if at < 0 or holes[at].last < id:
        return False
    hole = holes[at]
    if hole.first == hole.last:
        del holes[at]
    elif id == hole.first:
        hole.first += 1
    elif id == hole.last:
        hole.last -= 1
    else:
        holes.insert(at + 1, Hole(id + 1, hole.last, hole.since_ns, hole.asked))
        hole.last = id - 1
    return True


def drop(holes: list[Hole], first: int, last: int) -> None:
    """Take ids out of the holes that they lie in."""
    kept = []
    for hole in holes:
        if hole.last < first or last < hole.first:
            kept.append(hole)
            continue
        if hole.first < first:
            kept.append(Hole(hole.first, first - 1, hole.since_ns, hole.asked))
        if last < hole.last:
            kept.append(Hole(last + 1, hole.last, hole.since_ns, hole.asked))
    holes[:] = kept
