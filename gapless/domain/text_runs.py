"""Texts that repeat as runs: sorted key columns, read by their few changes and not by their many rows. Pure."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows: TypeAlias = npt.NDArray[np.int64]


def text_runs(column: pa.ChunkedArray | pa.Array) -> tuple[Rows, pa.Array]:
    """Where each run of equal neighbours begins, and its text; a run that goes on in the next chunk begins anew there.

    Neighbours are compared, where a dictionary would hash every text.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    starts, texts, before = [np.empty(0, np.int64)], [pa.array([], pa.string())], 0
    for chunk in chunks:
        if not len(chunk):
            continue
        encoded = pc.run_end_encode(chunk, run_end_type=pa.int64())
        ends = encoded.run_ends.to_numpy()
        starts.append(np.concatenate([[0], ends[:-1]]) + before)
        texts.append(encoded.values)
        before += len(chunk)
    return np.concatenate(starts), pa.concat_arrays(texts)


def changes(rows: pa.Table, names: tuple[str, ...]) -> Rows:
    """Row numbers at which one of these text columns changes, 0 included; none for no rows."""
    if not rows.num_rows:
        return np.empty(0, np.int64)
    # In one piece: between two pieces a run that goes on would begin anew, and a day of a series be digested in halves.
    found = [text_runs(rows[name].combine_chunks())[0] for name in names]
    return np.unique(np.concatenate(found)) if len(found) > 1 else found[0]
