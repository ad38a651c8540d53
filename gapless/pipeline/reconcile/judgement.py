"""What two readings of some series say of each: what is missing, extra, different, and what nobody has. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.grid import Opens, runs
from gapless.domain.keys import millis_of, opens_by_series
from gapless.domain.schema import knowledge
from gapless.domain.window import Window
from gapless.pipeline.backfill.outcome import without
from gapless.pipeline.backfill.pieces import Piece
from gapless.quality.compare import compare

Key = tuple[str, str]
"""Symbol and interval; the interval is empty where the dataset has none."""

Stretch = tuple[Window, int]
"""A run of rows that are not there, and how many."""

NONE: Opens = np.empty(0, np.int64)
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class SeriesFound:
    """What was found of one piece.

    Attributes:
        checked: rows that were expected and compared.
        missing: the exchange has them, the stores do not. broken: of these, what it has breaks a rule.
        extra: stored, and the exchange does not have them.
        denied: expected, and the exchange has none; stored or not.
        unfillable: of the denied those that are not stored either.
        different: rows of which a value differs.
    """

    piece: Piece
    checked: int
    missing: Opens
    broken: Opens
    extra: Opens
    denied: Opens
    unfillable: tuple[Stretch, ...]
    different: int

    @property
    def sound(self) -> bool:
        """Whether the stores hold what the exchange has."""
        return not (len(self.missing) or len(self.extra) or self.different)

    @property
    def step_ms(self) -> int:
        """The distance of neighbours in a run."""
        return self.piece.series.step_ms or _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of several series.

    Attributes:
        to_load: rows of the exchange that are missing or differ, or that say what is blank, canonical.
        extras: stored rows that the exchange does not have.
    """

    series: tuple[SeriesFound, ...]
    to_load: pa.Table
    extras: pa.Table


def judge(
    dataset: Dataset,
    pieces: Sequence[Piece],
    stored: pa.Table,
    theirs: pa.Table,
    *,
    broken: Mapping[Key, Opens],
    holes: Mapping[Key, Sequence[Stretch]] | None = None,
) -> Judged:
    """Hold the two readings of some series against each other.

    Args:
        stored, theirs: canonical rows of these pieces and of no others, in canonical order, each key once.
        broken: times of rows that the exchange has, but that break a rule.
        holes: of a dataset without a fixed grid, the stretches in which something was expected and nobody has it.
    """
    shape = SHAPES[dataset]
    found = compare(shape, stored, theirs)
    # What ranks lower than what is stored contradicts it and does not replace it: the archive's word on metrics that
    # REST once told otherwise, and has forgotten. It is no difference that anybody could repair.
    stand = _ranks(theirs, found.different) >= _ranks(stored, found.stored_as)
    different = found.different[stand]
    # Of funding the archive never says the mark price, and REST never the interval: a blank is no loss there.
    counted = different if dataset is Dataset.FUNDING else np.union1d(different, found.told)
    given, held = _times(shape, theirs), _times(shape, stored)
    series = []
    for piece in pieces:
        key = (piece.series.symbol, piece.series.label)
        expected = piece.expected if piece.series.step_ms else given.get(key, NONE)
        series.append(
            _series(piece, expected, given.get(key, NONE), held.get(key, NONE), broken.get(key, NONE),
                    None if holes is None else tuple(holes.get(key, ())))
        )  # fmt: skip
    differs = _count_by_series(shape, theirs, counted)
    series = [_with_different(one, differs) for one in series]
    missing = theirs.take(pa.array(found.missing))
    wanted = _among(shape, missing, {_key(one): one.missing for one in series})
    changed = theirs.take(pa.array(np.union1d(different, found.told)))
    to_load = pa.concat_tables([missing.filter(wanted), changed]).combine_chunks()
    return Judged(tuple(series), to_load, stored.take(pa.array(found.extra)))


def _series(
    piece: Piece, expected: Opens, given: Opens, held: Opens, broken: Opens, holes: tuple[Stretch, ...] | None
) -> SeriesFound:
    theirs = np.union1d(given, broken) if len(broken) else given
    denied = without(expected, theirs)
    missing = without(without(expected, denied), held)
    unheld = without(denied, held)
    step = piece.series.step_ms or _MINUTE_MS
    return SeriesFound(
        piece=piece,
        checked=len(expected) + (sum(rows for _, rows in holes) if holes else 0),
        missing=missing,
        broken=without(np.intersect1d(missing, broken), given) if len(broken) else NONE,
        extra=without(held, theirs),
        denied=denied,
        unfillable=holes if holes is not None else tuple((run, run.length_ms // step) for run in runs(unheld, step)),
        different=0,
    )


def _with_different(one: SeriesFound, differs: Mapping[Key, int]) -> SeriesFound:
    count = differs.get(_key(one), 0)
    if not count:
        return one
    return SeriesFound(
        one.piece, one.checked, one.missing, one.broken, one.extra, one.denied, one.unfillable, count
    )  # fmt: skip


def _ranks(rows: pa.Table, chosen: Opens) -> Opens:
    """What the sources of some rows know; see `gapless.domain.schema.knowledge`."""
    codes = rows["source"].take(pa.array(chosen)).to_pylist()
    return np.array([knowledge(code) for code in codes], np.int64)


def _key(one: SeriesFound) -> Key:
    return one.piece.series.symbol, one.piece.series.label


def _times(shape: Shape, rows: pa.Table) -> dict[Key, Opens]:
    """The times of each series' rows, each once; a label that is no interval does not tell series apart."""
    by_label = opens_by_series(shape, rows)
    if shape.label in (None, "interval"):
        return by_label
    merged: dict[Key, Opens] = {}
    for (symbol, _), times in by_label.items():
        merged[symbol, ""] = np.union1d(merged.get((symbol, ""), NONE), times)
    return merged


def _count_by_series(shape: Shape, rows: pa.Table, chosen: Opens) -> dict[Key, int]:
    if not len(chosen):
        return {}
    counts: dict[Key, int] = {}
    for key in _keys(shape, rows.take(pa.array(chosen))):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _keys(shape: Shape, rows: pa.Table) -> list[Key]:
    labels = rows["interval"].to_pylist() if shape.label == "interval" else [""] * rows.num_rows
    return list(zip(rows["symbol"].to_pylist(), labels, strict=True))


def _among(shape: Shape, rows: pa.Table, wanted: Mapping[Key, Opens]) -> pa.Array:
    """Which rows lie at one of their series' wanted times."""
    if rows.num_rows == 0:
        return pa.array([], pa.bool_())
    times = millis_of(rows["ts"])
    series = pc.binary_join_element_wise(rows["symbol"], pa.array([label for _, label in _keys(shape, rows)]), "\t")
    encoded = series.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes, flags = encoded.indices.to_numpy(zero_copy_only=False), np.zeros(rows.num_rows, np.bool_)
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        symbol, _, label = name.partition("\t")
        mine = codes == code
        flags[mine] = np.isin(times[mine], wanted.get((symbol, label), NONE))
    return pa.array(flags)
