"""What an export is asked for, what it tells on its way, and what it leaves."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gapless.domain.receipts import Failure


class Watch(Protocol):
    """Told of a long work."""

    def say(self, line: str) -> None:
        """A line for people."""

    def rows(self, done: int, total: int) -> None:
        """How many rows were brought so far."""


class ExportReport(msgspec.Struct, frozen=True):
    """What became of one month of one table.

    Attributes:
        rows: rows that MySQL held and the lake was shown to hold; 0 when there was nothing to export.
        bytes, files: of all objects of that month in the lake. written: how many of them were made or replaced.
        verified: the lake was read back and holds every row.
        dropped: and MySQL holds them no longer.
        beside: rows of the same series that the lake holds and MySQL did not.
        outranked: rows of which the lake keeps the word of a better source; `restatement` has both.
        digest: sha256 over the month's objects (`docs/archive.md` says how).
        receipt: which entry of `month_export` allowed the drop.
        manifest: where schema, counts and exact sums of each series lie.
        table_bytes: what the rows took in MySQL, as the server estimates it.
    """

    dataset: str
    month: str
    rows: int = 0
    bytes: int = 0
    files: int = 0
    written: int = 0
    verified: bool = False
    dropped: bool = False
    series: int = 0
    beside: int = 0
    outranked: int = 0
    digest: str = ""
    receipt: str = ""
    manifest: str = ""
    table_bytes: int = 0
    copy_seconds: float = 0.0
    verify_seconds: float = 0.0
    seconds: float = 0.0
    errors: tuple[Failure, ...] = ()


class DueMonth(msgspec.Struct, frozen=True):
    """A month that is to leave MySQL.

    Attributes:
        dataset: its table. month: `2026-07`.
        unfinished: an earlier export of it was begun and not brought to its end.
    """

    dataset: str
    month: str
    unfinished: bool = False

    def __str__(self) -> str:
        return f"{self.dataset} {self.month}"
