"""Samples of the partitions of months, of months that left for the lake, and of the books' own exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from gapless.monitoring.exposition import Sample
from gapless.pipeline.housekeeping import BOOKS_KIND, TAKEN
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.exports import read_exports
from gapless.storage.mysql.strays import months_ahead, stray_rows
from gapless.storage.mysql.totals import NewestCheck


def months(rt: Runtime, now_ms: int) -> Iterator[Sample]:
    """Invariants of every partitioned table, and how far each month that ever left has come, by its last round.

    Raises:
        StorageError: the server did not answer.
    """
    yield from (
        Sample("partition_months_ahead", ahead, (table,)) for table, ahead in months_ahead(rt.db, now_ms).items()
    )
    yield from (Sample("partition_stray_rows", rows, labels) for labels, rows in stray_rows(rt.db).items())
    last = {(export.dataset, export.month): export.state for export in read_exports(rt.db)}
    states = Counter((str(dataset), state) for (dataset, _), state in last.items())
    yield from (Sample("archived_months", count, labels) for labels, count in sorted(states.items()))


def books(checks: Iterable[NewestCheck]) -> Iterator[Sample]:
    """When the newest export of the books was taken, as the housekeeping that saw it whole in the lake noted."""
    for check in checks:
        taken_ms = check.result.get(TAKEN)
        if check.kind == BOOKS_KIND and isinstance(taken_ms, int):
            yield Sample("books_exported_timestamp_seconds", taken_ms / 1000)
