"""The `Range` header, as far as S3 honours it: one range of bytes."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class Unsatisfiable(Exception):
    """The range begins behind the end of the object: 416."""


def byte_range(header: str | None, size: int) -> slice | None:
    """The bytes that a `Range` header asks for; None for the whole (no header, or one that S3 reads past).

    Raises:
        Unsatisfiable: it begins behind the end, or asks for the last 0 bytes.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if not int(last) or not size:
            raise Unsatisfiable
        return slice(max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return slice(start, min(int(last) + 1, size) if last else size)
