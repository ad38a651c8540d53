"""Where a row was read; a module of its own, for who names sources reads no tables (no Arrow)."""

from __future__ import annotations

from enum import IntEnum


class Source(IntEnum):
    """Where a bar was read. The codes are stored (`ohlcv.source`) and never change meaning."""

    REST = 1
    VISION = 2
    STREAM = 3
