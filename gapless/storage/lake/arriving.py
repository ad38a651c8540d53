"""A month that arrives from MySQL: into which objects it goes, and each of them compared, then merged if it must be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gapless.domain.text_runs import text_runs
from gapless.domain.window import DAY_MS, iso
from gapless.errors import StorageError, ValidationError
from gapless.storage.lake import layout
from gapless.storage.lake.layout import Form, LakeObject, Month
from gapless.storage.lake.merge import times
from gapless.storage.lake.objects import ObjectStore, uri_of
from gapless.storage.lake.rewriting import SPOOL_SUFFIX, Change, ObjectReceipt, OnPairs, Rewriter
from gapless.storage.lake.temporary import sweep


@dataclass(frozen=True, slots=True)
class Arrival:
    """One object that a month goes into.

    Attributes:
        symbols: which symbols of the month have their rows there, in UTF-8 order. The rows are those with a `ts` in
            `target.window`.
    """

    target: LakeObject
    symbols: tuple[str, ...]


def arrivals_of(month: Month, form: Form, symbols: Collection[str]) -> list[Arrival]:
    """The objects that a month of these symbols goes into, in the order of their keys. Pure.

    In days: every day of the month. In buckets: those that one of the symbols belongs to.
    """
    names = tuple(sorted(set(symbols)))
    if not names:
        return []
    if form is Form.WHOLE:
        return [Arrival(month.whole(), names)]
    if form is Form.DAYS:
        return [Arrival(month.day(day.start_ms), names) for day in month.window.split(DAY_MS)]
    of: dict[int, list[str]] = {}
    for name in names:
        of.setdefault(layout.bucket_of(name), []).append(name)
    return [Arrival(month.bucket(number), tuple(of[number])) for number in sorted(of)]


def bring(
    rewriter: Rewriter,
    store: ObjectStore,
    arrival: Arrival,
    pieces: Callable[[], Iterator[pa.Table]],
    *,
    known_sha256: str | None,
    spool_dir: Path,
    on_replaced: OnPairs | None,
    on_outranked: OnPairs | None,
    mend: bool,
) -> ObjectReceipt | None:
    """See `BarLake.bring`."""
    target = arrival.target
    try:
        sweep(spool_dir, suffix=SPOOL_SUFFIX)
    except OSError as error:
        raise StorageError(
            f"cannot look through the spool folder {spool_dir}: {error.strerror or error}; make it readable"
        ) from error
    change = Change(
        new=lambda: _belonging(arrival, pieces(), uri_of(store, target.key)),
        on_replaced=on_replaced,
        on_outranked=on_outranked,
        mending=mend,
    )
    return rewriter.bring(target, change, known_sha256=known_sha256)


def _belonging(arrival: Arrival, pieces: Iterator[pa.Table], uri: str) -> Iterator[pa.Table]:
    """The pieces, after making sure that every row belongs to the object and the symbols come in their turn."""
    target, last = arrival.target, ""
    allowed = frozenset(arrival.symbols)
    for rows in pieces:
        if not rows.num_rows:
            continue
        wanted = {"exchange": target.exchange} | ({} if target.interval is None else {"interval": str(target.interval)})
        for name, value in wanted.items():
            if text_runs(rows[name])[1].unique().to_pylist() != [value]:
                raise ValidationError(f"{uri}: rows of another {name} than {value} do not belong there")
        ts = times(rows)
        first, final = int(ts.min()), int(ts.max())
        if first not in target.window or final not in target.window:
            raise ValidationError(f"{uri}: rows from {iso(first)} to {iso(final)} are of another period")
        symbols = text_runs(rows["symbol"])[1].to_pylist()
        if not allowed.issuperset(symbols):
            raise ValidationError(f"{uri}: rows of symbols that were not said to arrive there")
        if symbols[0] <= last:
            raise ValidationError(f"{uri}: rows of {symbols[0]} after those of {last}: whole symbols, in UTF-8 order")
        last = symbols[-1]
        yield rows
