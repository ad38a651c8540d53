"""Two readings of the same rows held against each other, every value of every row. Pure, whole columns at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import Shape
from gapless.domain.keys import Indices, row_keys

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Differences:
    """Row numbers, in order.

    Attributes:
        missing: of `theirs`: rows that are not stored.
        extra: of `stored`: rows that they do not have.
        different: of `theirs`: rows that are stored with another value.
        stored_as: of `stored`: the same rows, aligned with `different`.
        told: of `theirs`: rows that bring a value where a null is stored, and contradict nothing.
    """

    missing: Indices
    extra: Indices
    different: Indices
    stored_as: Indices
    told: Indices

    @property
    def none(self) -> bool:
        """Whether both readings are the same."""
        return not (len(self.missing) or len(self.extra) or len(self.different) or len(self.told))


def compare(shape: Shape, stored: pa.Table, theirs: pa.Table) -> Differences:
    """Compare stored rows with what the exchange gives; where a row came from is no part of it.

    A null contradicts nothing: it was not said. A value of theirs where a null is stored is told, see `Differences`.

    Args:
        stored, theirs: the shape's columns (more are allowed), any order, each key once.

    Raises:
        ValidationError: a label or interval that the shape does not know.
    """
    held, given = row_keys(shape, [stored, theirs], "comparison")
    whole = len(held) == len(given) and bool((held == given).all())
    if whole:  # as nearly always: nothing needs to be matched
        at_held = at_given = np.arange(len(held))
        missing = extra = np.empty(0, np.int64)
    else:
        by_held, by_given = np.argsort(held, kind="stable"), np.argsort(given, kind="stable")
        _, i, j = np.intersect1d(held[by_held], given[by_given], assume_unique=True, return_indices=True)
        at_held, at_given = by_held[i], by_given[j]
        missing, extra = _others(len(given), at_given), _others(len(held), at_held)
    ours = stored if whole else stored.take(pa.array(at_held))
    told = theirs if whole else theirs.take(pa.array(at_given))
    differs, fills = np.zeros(len(at_held), np.bool_), np.zeros(len(at_held), np.bool_)
    for name in shape.values:
        mine, their = ours[name].combine_chunks(), told[name].combine_chunks()
        if not mine.equals(their):
            differs |= _flags(pc.fill_null(pc.not_equal(mine, their), False))
            if mine.null_count:
                fills |= _flags(pc.and_(mine.is_null(), their.is_valid()))
    found = np.flatnonzero(differs)
    return Differences(missing, extra, at_given[found], at_held[found], at_given[np.flatnonzero(fills & ~differs)])


def _flags(condition: pa.ChunkedArray) -> Flags:
    flags: Flags = np.asarray(condition)
    return flags


def _others(count: int, chosen: Indices) -> Indices:
    left = np.ones(count, np.bool_)
    left[chosen] = False
    return np.flatnonzero(left)
