"""The folders of the spool: which hours lie there, which files nobody writes any more, and their removal.

    <root>/<kind>/<exchange>/<2026-11-20T16>/<consumer>-<n>.part    being written, locked by its writer
                                             <consumer>-<n>.seg     closed for ever

The hour is that of the event, UTC. Names never come back: `n` is the time at which the file was opened.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gapless.domain.live import Entry, Kind
from gapless.storage.spool.segments import Damage, read_segment

WRITING, CLOSED = ".part", ".seg"
_KINDS = frozenset(map(str, Kind))
_CLOCKS_APART_S = 300.0
"""How far the clocks of Redis and of this host are allowed to be apart."""
_FORM = "%Y-%m-%dT%H"


@dataclass(frozen=True, slots=True, order=True)
class SpoolHour:
    """What the spool holds of one kind, exchange and hour (its start, UTC ms)."""

    kind: Kind
    exchange: str
    hour_ms: int
    bytes: int = 0
    files: int = 0


def streams_root(spool_dir: Path) -> Path:
    """Where the Streams are spooled inside the settings' `spool_dir`."""
    return spool_dir / "streams"


def hour_folder(root: Path, kind: Kind, exchange: str, hour_ms: int) -> Path:
    """Where the entries of an hour lie."""
    return root / kind / exchange / datetime.fromtimestamp(hour_ms / 1000, UTC).strftime(_FORM)


def spooled_hours(root: Path) -> list[SpoolHour]:
    """Every hour of the spool with a file in it, by kind, exchange and hour; folders of other names are not looked at.

    Raises:
        OSError: the spool cannot be read.
    """
    found: list[SpoolHour] = []
    for folder in root.glob("*/*/*"):
        hour_ms = _hour_ms(folder.name)
        kind = folder.parent.parent.name
        if hour_ms is None or kind not in _KINDS:
            continue
        sizes = list(_sizes(folder))
        if sizes:
            found.append(SpoolHour(Kind(kind), folder.parent.name, hour_ms, sum(sizes), len(sizes)))
    return sorted(found)


def spooled_bytes(root: Path) -> int:
    """How much the spool holds.

    Raises:
        OSError: the spool cannot be read.
    """
    return sum(hour.bytes for hour in spooled_hours(root))


def seal(root: Path, hour: SpoolHour) -> tuple[Path, ...]:
    """The files of an hour that no writer appends to any more, by name; those that dead writers left are closed now.

    A file that a living writer has open is not among them: the writer closes it soon after its hour is over, and a
    later call gives it. Entries that come later still go to new files.

    Raises:
        OSError: the folder cannot be read or a file not be renamed.
    """
    folder = hour_folder(root, hour.kind, hour.exchange, hour.hour_ms)
    if not folder.is_dir():
        return ()
    for path in folder.glob(f"*{WRITING}"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fsync(stream.fileno())
            path.rename(path.with_suffix(CLOSED))
    sync_folder(folder)
    return tuple(sorted(folder.glob(f"*{CLOSED}")))


def read_files(
    files: Iterable[Path], kind: Kind, exchange: str, on_damage: Callable[[Damage], None]
) -> Iterator[list[Entry]]:
    """The entries of these files, a frame at a time; see `read_segment` for what damage is.

    Raises:
        OSError: a file cannot be read.
    """
    for path in files:
        yield from read_segment(path, kind, exchange, on_damage)


def read_hour(
    root: Path, kind: Kind, exchange: str, hour_ms: int, on_damage: Callable[[Damage], None]
) -> Iterator[list[Entry]]:
    """All entries of an hour as they are spooled now, a frame at a time, a resend as often as it came.

    Raises:
        OSError: a file cannot be read.
    """
    folder = hour_folder(root, kind, exchange, hour_ms)
    # By stem: a file that is closed while we read keeps its place, and is found by its new name.
    for stem in sorted({path.stem for path in _segments(folder)}):
        closed = folder / f"{stem}{CLOSED}"
        path = closed if closed.exists() else folder / f"{stem}{WRITING}"
        try:
            yield from read_segment(path, kind, exchange, on_damage)
        except FileNotFoundError:
            yield from read_segment(closed, kind, exchange, on_damage)


def spooled_ids(root: Path, kind: Kind, exchange: str, ids: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these (symbol, Stream id) are in the spool. Reads every file written since the oldest id was given.

    Raises:
        OSError: a file cannot be read.
    """
    found: set[tuple[str, str]] = set()
    since_s = min(int(stream_id.partition("-")[0]) for _, stream_id in ids) / 1000 - _CLOCKS_APART_S
    for folder in (root / kind / exchange).glob("*"):
        for path in _segments(folder):
            with suppress(FileNotFoundError):  # closed or published meanwhile
                if path.stat().st_mtime >= since_s:
                    for frame in read_segment(path, kind, exchange, lambda damage: None):
                        found |= ids.intersection((entry.symbol, entry.stream_id) for entry in frame)
    return found


def remove(files: Iterable[Path]) -> None:
    """Remove files that `seal` gave, and the folders that are empty then. Those already gone do not matter.

    Raises:
        OSError: a file cannot be removed.
        ValueError: a file is being written.
    """
    folders = set()
    for path in files:
        if path.suffix != CLOSED:
            raise ValueError(f"{path} is being written: only what seal() gave is removed")
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        with suppress(OSError):  # not empty: other files of the hour came meanwhile
            folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make names in a folder outlive the machine's power.

    Raises:
        OSError: the disk did not take it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _segments(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.suffix in (WRITING, CLOSED))


def _sizes(folder: Path) -> Iterator[int]:
    for path in _segments(folder):
        try:
            yield path.stat().st_size
        except FileNotFoundError:  # closed or removed meanwhile
            closed = path.with_suffix(CLOSED)
            if path.suffix == WRITING and closed.exists():
                yield closed.stat().st_size


def _hour_ms(name: str) -> int | None:
    try:
        return int(datetime.strptime(name, _FORM).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None
