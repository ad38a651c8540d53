"""How a new look at some stretches changes what the gap log says of a series. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window, merge
from gapless.errors import ValidationError
from gapless.storage.mysql.books import moment_or_none

OPEN, REFILLING, FILLED, UNFILLABLE, FAILED = "open", "refilling", "filled", "unfillable", "failed"
STATES = (OPEN, REFILLING, FILLED, UNFILLABLE, FAILED)


@dataclass(frozen=True, slots=True)
class Gap:
    """A maximal run of missing rows of one series.

    Attributes:
        interval: empty where the dataset has none.
        window: half-open, of labels (`ts`); begins with the first missing one.
        bars: how many are missing in it.
        state: `open`, `refilling`, `filled` (a gap no more), `unfillable` (the exchange has none either) or `failed`
            (attempts spent).
        cause: why, in words; may be empty.
        attempts: how often it was tried to fill it.
        next_try_ms: when the next attempt is due; None: at once, or never.
        page_key: the page that told somebody of it; kept by the log, whatever a look says.
        id: its row in the log; 0 before it has one.
    """

    exchange: str
    symbol: str
    dataset: str
    interval: str
    window: Window
    bars: int
    state: str
    cause: str
    attempts: int = 0
    next_try_ms: int | None = None
    page_key: str | None = None
    id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log. `id` is None for one that is not stored yet; times are naive UTC."""

    id: int | None
    window: Window
    bars: int
    state: str
    cause: str
    attempts: int
    noticed_at: datetime
    page_sent_at: datetime | None
    page_key: str | None = None
    next_try_at: datetime | None = None


def step_of(dataset: str, interval: str) -> int | None:
    """The distance (ms) of a series' labels, None where it is not fixed (funding)."""
    return Interval(interval).ms if interval else SHAPES[Dataset(dataset)].step_ms


def newly_noticed(log: Sequence[Entry], found: Sequence[Gap], step_ms: int | None) -> int:
    """How many rows of the found gaps that the exchange can have are in no standing entry of the log."""
    standing = [entry.window for entry in log if entry.state not in (FILLED, UNFILLABLE)]
    rows = 0
    for gap in found:
        if gap.state in (FILLED, UNFILLABLE):
            continue
        left = gap.window.subtract(standing)
        if step_ms is not None:
            rows += sum(part.length_ms // step_ms for part in left)
        elif left:
            rows += gap.bars
    return rows


def look_again(
    log: Sequence[Entry], found: Sequence[Gap], within: Sequence[Window], step_ms: int | None, now: datetime
) -> list[Entry]:
    """The log of one series after these gaps were found in stretches that were looked at whole.

    Gaps that are on record there and were not found again are filled. Entries that reach beyond are cut at the edge;
    what was found replaces what it overlaps and goes on with its history (since when, attempts, page); entries of one
    state, cause and page that touch become one. So no moment is in two entries, and the same look again changes
    nothing.

    Args:
        log: the series' entries, disjoint, any order.
        found: the gaps in `within`, disjoint; their windows count as looked at too.
        step_ms: the grid of the labels. Without one, a cut entry's rows are shared out by length.

    Raises:
        ValidationError: two of the found gaps overlap, or one has an unknown state.
    """
    gaps = sorted((_snapped(gap, step_ms) for gap in found), key=lambda gap: gap.window)
    for gap, following in pairwise(gaps):
        if following.window.start_ms < gap.window.end_ms:
            raise ValidationError(f"gap log: two gaps of {gap.symbol} {gap.interval} overlap: {following.window}")
    if wrong := [gap for gap in gaps if gap.state not in STATES]:
        raise ValidationError(f"gap log: {wrong[0].symbol} {wrong[0].interval}: no such state: {wrong[0].state!r}")
    stretches = [whole for each in within if (whole := snap(each, step_ms))]
    seen = merge([*stretches, *(gap.window for gap in gaps)])
    fine = [left for each in seen for left in each.subtract(gap.window for gap in gaps)]
    entries = [_found_again(gap, log, now) for gap in gaps]
    for entry in log:
        entries += [_piece(entry, left, entry.state, step_ms) for left in entry.window.subtract(seen)]
        entries += [_piece(entry, both, FILLED, step_ms) for each in fine if (both := entry.window.intersect(each))]
    return _own_ids(_joined(sorted((entry for entry in entries if entry.bars > 0), key=lambda entry: entry.window)))


def snap(window: Window, step_ms: int | None) -> Window | None:
    """The window that holds the same labels and begins and ends on their grid; None when it holds none."""
    if step_ms is None:
        return window
    start, end = (at + -at % step_ms for at in (window.start_ms, window.end_ms))
    return Window(start, end) if start < end else None


def _snapped(gap: Gap, step_ms: int | None) -> Gap:
    window = snap(gap.window, step_ms)
    if window is None or gap.bars < 1:
        raise ValidationError(f"gap log: the gap of {gap.symbol} {gap.interval} at {gap.window} has no rows")
    return replace(gap, window=window)


def _found_again(gap: Gap, log: Sequence[Entry], now: datetime) -> Entry:
    before = sorted(
        (
            entry
            for entry in log
            if entry.window.intersect(gap.window) and (entry.state != FILLED or gap.state == FILLED)
        ),
        key=lambda entry: entry.window,
    )
    return Entry(
        id=before[0].id if before else None,
        window=gap.window,
        bars=gap.bars,
        state=gap.state,
        cause=gap.cause or next((entry.cause for entry in before if entry.cause), ""),
        attempts=max([gap.attempts, *(entry.attempts for entry in before)]),
        noticed_at=min([now, *(entry.noticed_at for entry in before)]),
        page_sent_at=min((entry.page_sent_at for entry in before if entry.page_sent_at), default=None),
        page_key=next((entry.page_key for entry in before if entry.page_key), None),
        next_try_at=moment_or_none(gap.next_try_ms),
    )


def _piece(entry: Entry, window: Window, state: str, step_ms: int | None) -> Entry:
    if state == FILLED:
        entry = replace(entry, next_try_at=None)
    if window == entry.window:
        return replace(entry, state=state)
    if step_ms is not None:
        bars = window.length_ms // step_ms
    else:
        first, last = (
            -(-entry.bars * (at - entry.window.start_ms) // entry.window.length_ms)
            for at in (window.start_ms, window.end_ms)
        )
        bars = last - first
    return replace(entry, window=window, bars=bars, state=state)


def _joined(entries: Sequence[Entry]) -> list[Entry]:
    joined: list[Entry] = []
    for entry in entries:
        last = joined[-1] if joined else None
        if (
            last
            and last.window.end_ms == entry.window.start_ms
            and (last.state, last.cause, last.page_key) == (entry.state, entry.cause, entry.page_key)
        ):
            joined[-1] = Entry(
                id=last.id if last.id is not None else entry.id,
                window=Window(last.window.start_ms, entry.window.end_ms),
                bars=last.bars + entry.bars,
                state=last.state,
                cause=last.cause,
                attempts=max(last.attempts, entry.attempts),
                noticed_at=min(last.noticed_at, entry.noticed_at),
                page_sent_at=min((at for at in (last.page_sent_at, entry.page_sent_at) if at), default=None),
                page_key=last.page_key,
                next_try_at=max((at for at in (last.next_try_at, entry.next_try_at) if at), default=None),
            )
        else:
            joined.append(entry)
    return joined


def _own_ids(entries: Sequence[Entry]) -> list[Entry]:
    """An entry that was cut keeps its id in its first piece; the others are new."""
    used: set[int] = set()
    own: list[Entry] = []
    for entry in entries:
        if entry.id in used:
            entry = replace(entry, id=None)
        elif entry.id is not None:
            used.add(entry.id)
        own.append(entry)
    return own
