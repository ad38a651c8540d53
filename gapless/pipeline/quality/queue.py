"""The review queue as the command line and other readers see it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gapless.domain.window import iso
from gapless.errors import ConfigError
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.reviews import (
    ACCEPTED,
    REJECTED,
    WAITING,
    Review,
    count_reviews,
    decide_reviews,
    read_reviews,
)


class ReviewRow(msgspec.Struct, frozen=True):
    """A bar that a person is asked about, in plain values; times ISO 8601, `values` exact texts by column."""

    id: int
    state: str
    rule: str
    symbol: str
    interval: str
    ts: str
    measured: str
    allowed: str
    detail: str
    values: dict[str, str]
    noticed_at: str
    decided_at: str | None
    decided_by: str
    note: str


class ReviewList(msgspec.Struct, frozen=True):
    """A part of the queue. waiting: rows of the whole queue without a decision."""

    waiting: int
    reviews: tuple[ReviewRow, ...]


class DecisionReport(msgspec.Struct, frozen=True):
    """decided: rows that the decision was for. changed: those that it was new for. waiting: rows still without one."""

    decided: int
    changed: int
    waiting: int


def list_reviews(
    rt: Runtime,
    *,
    states: Collection[str] | None = None,
    rules: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> ReviewList:
    """The queue, oldest bar first; None takes all.

    Raises:
        StorageError: MySQL is away.
    """
    found = read_reviews(rt.db, states=states, rules=rules, symbols=symbols)
    return ReviewList(count_reviews(rt.db)[WAITING], tuple(_row(each) for each in found))


def decide(rt: Runtime, ids: Collection[int], state: str, *, by: str, note: str = "") -> DecisionReport:
    """Enter a person's decision on some bars, all or none. The bars themselves stay as they are.

    Args:
        state: `accepted` (the bar is right) or `rejected` (it is wrong on the exchange's side).

    Raises:
        ConfigError: no such decision. NotFound: one of them is not in the queue. StorageError: MySQL is away.
    """
    if state not in (ACCEPTED, REJECTED):
        raise ConfigError(f"a review is {ACCEPTED} or {REJECTED}, not {state}")
    changed = decide_reviews(rt.db, ids, state, by=by, note=note)
    return DecisionReport(len(set(ids)), changed, count_reviews(rt.db)[WAITING])


def _row(each: Review) -> ReviewRow:
    return ReviewRow(
        id=each.id,
        state=each.state,
        rule=each.rule,
        symbol=each.symbol,
        interval=each.interval,
        ts=iso(each.ts_ms),
        measured=each.measured,
        allowed=each.allowed,
        detail=each.detail,
        values=dict(each.row_values),
        noticed_at=iso(each.noticed_ms),
        decided_at=None if each.decided_ms is None else iso(each.decided_ms),
        decided_by=each.decided_by,
        note=each.note,
    )
