"""Diffs of a book made one, in the exchange's own shape. Pure.

Quantities in a diff are absolute, so of several the last word on each price counts, a removal (`0`) included. The
merged diff goes from the first one's `U` (and `pu`) to the last one's `u`: it follows, and is followed by, the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gapless.exchanges.binance.streams.messages import Levels


class Diff(NamedTuple):
    """A diff that waits."""

    event_ms: int
    received_ns: int
    identity: bytes
    payload: bytes


class _Ids(msgspec.Struct, gc=False):
    U: int
    u: int
    b: Levels
    a: Levels
    pu: int | None = None


_decode_ids = msgspec.json.Decoder(_Ids).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def merge_diffs(diffs: Sequence[Diff]) -> list[Diff]:
    """As few diffs as say the same. Those between which one is missing, and those that cannot be read, stay apart."""
    merged: list[Diff] = []
    run: list[tuple[Diff, _Ids]] = []
    for diff in diffs:
        try:
            ids = _decode_ids(diff.payload)
        except msgspec.DecodeError:
            merged += [*_merge(run), diff]
            run = []
            continue
        if run and not _follows(run[-1][1], ids):
            merged += _merge(run)
            run = []
        run.append((diff, ids))
    return merged + _merge(run)


def first_and_last(diffs: Sequence[Diff]) -> tuple[str, str]:
    """The first and the last update id that these diffs cover; empty where it cannot be read."""
    try:
        return str(_decode_ids(diffs[0].payload).U), diffs[-1].identity.decode()
    except msgspec.DecodeError:
        return "", diffs[-1].identity.decode()


def _follows(before: _Ids, after: _Ids) -> bool:
    return after.pu == before.u if after.pu is not None else before.u + 1 == after.U


def _merge(run: Sequence[tuple[Diff, _Ids]]) -> list[Diff]:
    if len(run) < 2:
        return [diff for diff, _ in run]
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for _, ids in run:
        bids.update(ids.b)
        asks.update(ids.a)
    first, last = run[0][1], run[-1][0]
    fields: dict[str, object] = {**_decode_fields(last.payload), "U": first.U}
    fields |= {"b": list(bids.items()), "a": list(asks.items())}
    if first.pu is not None:
        fields["pu"] = first.pu
    return [last._replace(payload=msgspec.json.encode(fields))]
