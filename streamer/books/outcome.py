"""What happened to a book, told to whoever owns it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import NamedTuple

from gapless.exchanges.binance.streams.messages import Depth


class BookState(StrEnum):
    """How far a book can be believed."""

    EMPTY = "empty"  # nothing has come yet
    BUFFERING = "buffering"  # diffs come, a snapshot does not join yet
    LIVE = "live"  # it is the exchange's, at its id
    STALE = "stale"  # it was; its levels are those of before, and diffs are kept for a snapshot


class Item(NamedTuple):
    """A diff that may be passed on."""

    diff: Depth
    raw: bytes
    received_ns: int


class Gap(NamedTuple):
    """Update ids that were not received. USD-M: ids between these two, not all of which are of this book."""

    first: int
    last: int


class Why(Enum):
    """Why a book stopped being live, or wants a snapshot."""

    STARTED = "started"  # its first diff came
    GAP = "gap"  # diffs are missing
    BACKWARDS = "backwards"  # the exchange's ids began anew
    LOST = "lost"  # no connection carries it; live again at once if the next diff follows
    TOO_OLD = "too_old"  # the snapshot is older than the diffs that are kept
    HOLE = "hole"  # the snapshot's id lies between two diffs
    CROSSED = "crossed"  # its best bid met its best ask
    DIFFERS = "differs"  # a snapshot says otherwise
    GARBLED = "garbled"  # the levels of a diff could not be read
    ASKED = "asked"  # its owner gave it up


class Outcome(NamedTuple):
    """What one call did.

    Attributes:
        publish: diffs to pass on, in order.
        gaps: what is missing before or among them.
        became: the book's new state, if it changed.
        ask: a snapshot is wanted, for this reason.
        why: why it is no longer live.
        differences: levels in which a snapshot and the book differed.
    """

    publish: Sequence[Item] = ()
    gaps: Sequence[Gap] = ()
    became: BookState | None = None
    ask: Why | None = None
    why: Why | None = None
    differences: int = 0


NOTHING = Outcome()


def joined(first: Outcome, then: Outcome) -> Outcome:
    """Two outcomes as one: the later state and wish count. A book that became live wishes nothing."""
    became = then.became or first.became
    ask = then.ask or first.ask
    return Outcome(
        (*first.publish, *then.publish),
        (*first.gaps, *then.gaps),
        became,
        None if then.became is BookState.LIVE else ask,
        then.why or first.why,
        first.differences + then.differences,
    )
