"""One search for missing trades: what it covers, what became of it, and how its ranges are told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from gapless.domain.live import GapReason
from streamer.continuity.holes import Lost, Range
from streamer.continuity.line import Line

T = TypeVar("T")
A_PAGE = 1_000
"""Trades of one answer of REST."""
TOLD = 20
"""Ranges of a search that are told one by one; what is beyond is told as one, with its count."""


class Found(NamedTuple, Generic[T]):
    """A trade as REST gave it: `item` is None where the exchange marks it as void."""

    id: int
    time_ms: int
    item: T | None


@dataclass(slots=True, eq=False)
class Tracked(Generic[T]):
    """One symbol: its line and where its trades go.

    Attributes:
        reason, reason_at: why ids may be missing from `reason_at` on; other holes are mere holes.
        too_old: a hole that begins here lies over a restart too long ago; -1: none does.
        began: where this process began; holes before it are searched for one by one, for ids between them may be lost.
        searches: those that are open. lost: trades that were given up.
    """

    symbol: str
    raw_symbol: str
    line: Line[T]
    release: Callable[[Sequence[T]], None]
    reason: str = GapReason.HOLE
    reason_at: int = -1
    too_old: int = -1
    began: int = -1
    searches: list[Search[T]] = field(default_factory=list, repr=False)
    lost: int = 0


@dataclass(slots=True, eq=False)
class Search(Generic[T]):
    """Holes that are searched for together.

    Attributes:
        count: the ids that were missing when it opened, in `holes` pieces.
        doubted: ids that an answer left out; asked for once more before they count as never given.
    """

    of: Tracked[T]
    first: int
    last: int
    count: int
    holes: int
    reason: str
    opened_ns: int
    ask_ns: int
    asking: bool = False
    failures: int = 0
    refusals: int = 0
    told_deferred: bool = False
    why: str = ""
    lost: list[Lost] = field(default_factory=list)
    absent: list[Range] = field(default_factory=list)
    doubted: list[Range] = field(default_factory=list)
    doubted_ns: int = 0


class Ask(NamedTuple, Generic[T]):
    """A request to be made: `limit` trades from `first` on."""

    search: Search[T]
    first: int
    limit: int
    doubting: bool


@dataclass(slots=True)
class Tally:
    """What came of it all, in trades unless said otherwise."""

    opened: int = 0  # searches
    missing: int = 0
    brought: int = 0
    absent: int = 0
    lost: int = 0
    deferred: int = 0  # holes
    failures: int = 0  # requests


def ids_of(ranges: Sequence[Range | Lost]) -> int:
    return sum(each.last - each.first + 1 for each in ranges)


def pieces(holes: int) -> str:
    return "" if holes == 1 else f"in {holes} pieces"


def near_each_other(ranges: Sequence[Range], alone_before: int) -> Iterator[list[Range]]:
    """Holes in groups that a request or two covers; a gap of more than a page parts them."""
    group: list[Range] = []
    for each in ranges:
        if group and (each.first - group[-1].last > A_PAGE or group[-1].last < alone_before):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def told_singly(ranges: Sequence[Lost]) -> list[Lost]:
    """Adjacent ones joined; beyond the first so many, all in one."""
    joined: list[Lost] = []
    for each in sorted(ranges):
        if joined and joined[-1].last + 1 == each.first and joined[-1].why == each.why:
            joined[-1] = joined[-1]._replace(last=each.last)
        else:
            joined.append(each)
    if len(joined) <= TOLD:
        return joined
    rest = joined[TOLD - 1 :]
    return [*joined[: TOLD - 1], Lost(rest[0].first, rest[-1].last, f"{len(rest)} ranges: {rest[0].why}")]


def ids_within(ranges: Sequence[Lost], told: Lost) -> int:
    return ids_of([each for each in ranges if told.first <= each.first and each.last <= told.last])
