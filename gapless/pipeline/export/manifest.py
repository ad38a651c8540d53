"""The manifest of a month in the lake: schema, counts and exact sums of each series, for any program to check by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from gapless.domain.datasets import Shape
from gapless.domain.totals import SeriesKey, SeriesTotals
from gapless.domain.window import iso
from gapless.pipeline.export.prove import Proof
from gapless.storage.mysql.partitions import Month

VERSION = 1


def manifest_of(shape: Shape, month: Month, proof: Proof, *, origin: str) -> bytes:
    """The JSON text: the same contents give the same bytes.

    `sums` are exact decimals as text; of a time column the sum of its milliseconds since 1970. `counts` say how many
    values are not null. `origin` says what the data are: `binance`, or a replica's.
    """
    objects = [
        {"key": each.key, "rows": each.rows, "bytes": each.bytes, "sha256": each.sha256,
         "content_digest": each.content_digest}
        for contents in proof.contents
        for each in contents.objects
    ]  # fmt: skip
    document: dict[str, Any] = {
        "manifest": VERSION,
        "dataset": str(shape.dataset),
        "month": str(month),
        "origin": origin,
        "schema": [[field.name, str(field.type)] for field in shape.schema],
        "key": list(shape.key),
        "rows": sum(each["rows"] for each in objects),
        "digest": digest_of(proof),
        "objects": objects,
        "series": [_series(shape, key, totals) for key, totals in sorted(proof.totals.items())],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def digest_of(proof: Proof) -> str:
    """sha256 over one line an object, `key sha256 rows`, in the order of their keys."""
    lines = sorted((each.key, each.sha256, each.rows) for contents in proof.contents for each in contents.objects)
    text = "".join(f"{key} {digest} {rows}\n" for key, digest, rows in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def _series(shape: Shape, key: SeriesKey, totals: SeriesTotals) -> Mapping[str, Any]:
    exchange, symbol, label = key
    return {
        "exchange": exchange,
        "symbol": symbol,
        **({shape.label: label} if shape.label else {}),
        "rows": totals.rows,
        "first": iso(totals.first_ms),
        "last": iso(totals.last_ms),
        "counts": dict(zip(shape.values, totals.counts, strict=True)),
        "sums": {name: f"{value:f}" for name, value in zip(shape.values, totals.sums, strict=True)},
    }
