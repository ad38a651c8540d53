"""What must not be lost, on disk until Redis has it: files of checked frames, written at the end, read from the start.

    <folder>/<number>.seg = magic, position u64, frame*
    frame                 = body length u32, crc32 of the body u32, flag u32, crc32 of these three u32, body
    body                  = msgpack([[key, identity, packed command], ...])

`position` is up to where Redis has taken it, moved in place; so after a kill at most the few frames that were on their
way are in doubt, and their Streams' tails tell. One process at a time: the folder is locked. A kill loses nothing that
`write` returned for; the machine's power at most the last segment, which is synced when it is closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import msgspec

from gapless.errors import StorageError

Record = tuple[bytes, bytes, bytes]
"""Key of the Stream, identity, packed command."""

FRAMES_ON_THEIR_WAY = 4
"""At most so many frames may be sent and not settled: what is in doubt after a kill."""

FRAME_BYTES = 128 * 2**10
_MAGIC = b"GLOUT\x00\x00\x01"
_POSITION = struct.Struct("<Q")
_HEADER = struct.Struct("<IIII")
_START = len(_MAGIC) + _POSITION.size
_FIRST = 10**9
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


@dataclass(frozen=True, slots=True)
class Frame:
    """Records as they were written together.

    Attributes:
        number, end: of its segment, and where it ends there.
        doubtful: whether an earlier process may have sent them.
    """

    number: int
    end: int
    records: list[Record]
    doubtful: bool


@dataclass(slots=True)
class _Segment:
    number: int
    size: int
    read: int
    closed: bool = True


class Spool:
    """A queue on disk, for one caller at a time.

    Args:
        limit_bytes: what may lie here at most.

    Attributes:
        bytes: what lies here, settled parts of files that are not removed yet included.
        damaged: frames that could not be read; the rest of their file is kept as `.bad` and not read.

    Raises:
        StorageError: another process has it, or the disk cannot be used.
    """

    def __init__(self, folder: Path, limit_bytes: int, segment_bytes: int) -> None:
        self.folder = folder
        self.bytes = 0
        self.damaged = 0
        self._limit, self._segment_bytes = limit_bytes, segment_bytes
        self._segments: deque[_Segment] = deque()
        self._out: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._find()
        except BlockingIOError:
            raise StorageError(
                f"{folder}: another streamer of this shard is running here, most likely the service, which follows"
                " include/symbols.yaml; stop it, or take another --shard"
            ) from None
        except OSError as error:
            raise StorageError(f"{folder}: the spool cannot be used: {error.strerror or error}") from None

    def __bool__(self) -> bool:
        return bool(self._segments)

    @property
    def has_unread(self) -> bool:
        """Whether `read` would give a frame."""
        return any(segment.read < segment.size for segment in self._segments)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be added."""
        return self.bytes + size <= self._limit

    def write(self, records: Iterable[Record]) -> None:
        """Add records at the end; they can be read, and outlive this process, when this returns.

        Raises:
            OSError: the disk did not take them; nothing was added.
        """
        frames = b"".join(_frames(records, 0))
        if frames:
            self._append(frames)

    def put_before(self, records: Iterable[Record]) -> None:
        """Put records in front of all others; somebody may have sent them before. Only as the last thing of all.

        Raises:
            OSError: the disk did not take them; nothing was added.
        """
        number = (self._segments[0].number if self._segments else _FIRST) - 1
        frames = b"".join(_frames(records, 1))
        if not frames:
            return
        path = self._path(number)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as stream:
                stream.write(_MAGIC + _POSITION.pack(_START) + frames)
                stream.flush()
                os.fsync(stream.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._segments.appendleft(_Segment(number, _START + len(frames), _START))
        self.bytes += _START + len(frames)

    def read(self) -> Frame | None:
        """The next frame; None: there is none now.

        Raises:
            OSError: the disk cannot be read.
        """
        for segment in list(self._segments):
            while segment.read < segment.size:
                frame = self._read(segment)
                if frame is not None:
                    return frame
        return None

    def settle(self, frame: Frame) -> None:
        """Redis has this frame, and all before it. Files that are done with are removed.

        Raises:
            OSError: the disk does not take it.
        """
        while self._segments and self._segments[0].number < frame.number:
            self._remove()
        if not self._segments or self._segments[0].number != frame.number:
            return
        first = self._segments[0]
        if frame.end >= first.size and self._is_over(first):
            self._remove()
            return
        descriptor = os.open(self._path(frame.number), os.O_WRONLY)
        try:
            os.pwrite(descriptor, _POSITION.pack(frame.end), len(_MAGIC))
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """All that was here is read and settled: remove what is left of it."""
        self._close_segment()
        while self._segments:
            self._remove()

    def close(self) -> None:
        """Give the folder to others. What is here stays."""
        if self._lock >= 0:
            self._close_segment()
            os.close(self._lock)
            self._lock = -1

    # ---- files ---------------------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:016d}.seg"

    def _find(self) -> None:
        for part in self.folder.glob("*.part"):
            part.unlink()
        for path in sorted(self.folder.glob("*.seg")):
            size = path.stat().st_size
            with path.open("rb") as stream:
                head = stream.read(_START)
            if len(head) < _START:  # killed while it was made: nothing is in it
                path.unlink()
                continue
            (position,) = _POSITION.unpack(head[len(_MAGIC) :])
            if head.startswith(_MAGIC) and position < size:
                self._segments.append(_Segment(int(path.stem), size, max(position, _START)))
                self.bytes += size
            elif head.startswith(_MAGIC):
                path.unlink()
            else:
                self._set_aside(path)

    def _append(self, frames: bytes) -> None:
        last = self._segments[-1] if self._segments else None
        if self._out is None or last is None or last.size >= self._segment_bytes:
            last = self._new_segment()
        assert self._out is not None  # noqa: S101 - just opened
        try:
            written = os.pwrite(self._out, frames, last.size)
            if written != len(frames):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._out, last.size)
            raise
        last.size += len(frames)
        self.bytes += len(frames)

    def _new_segment(self) -> _Segment:
        self._close_segment()
        number = self._segments[-1].number + 1 if self._segments else _FIRST
        path = self._path(number)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            if os.pwrite(descriptor, _MAGIC + _POSITION.pack(_START), 0) != _START:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._out = descriptor
        segment = _Segment(number, _START, _START, closed=False)
        self.bytes += _START
        self._segments.append(segment)
        return segment

    def _close_segment(self) -> None:
        if self._out is None:
            return
        if self._segments:
            self._segments[-1].closed = True
            os.fsync(self._out)
        os.close(self._out)
        self._out = None

    def _is_over(self, segment: _Segment) -> bool:
        """Whether nothing will be added to it any more; the last one is, when all of it is settled."""
        if segment is self._segments[-1] and not segment.closed:
            segment.closed = True
            if self._out is not None:
                os.close(self._out)
                self._out = None
        return segment.closed

    def _remove(self) -> None:
        segment = self._segments.popleft()
        self.bytes -= segment.size
        self._path(segment.number).unlink(missing_ok=True)

    def _read(self, segment: _Segment) -> Frame | None:
        with self._path(segment.number).open("rb") as stream:
            stream.seek(segment.read)
            head = stream.read(_HEADER.size)
            body = b""
            if len(head) == _HEADER.size:
                length, check, flag, head_check = _HEADER.unpack(head)
                if crc32(head[:12]) == head_check:
                    body = stream.read(length)
        if not body or len(body) != length or crc32(body) != check:
            self._damage(segment)
            return None
        segment.read += _HEADER.size + length
        return Frame(segment.number, segment.read, _decode(body), bool(flag))

    def _damage(self, segment: _Segment) -> None:
        """A write that a kill cut off, or a broken disk: what follows in this file cannot be known."""
        self.damaged += 1
        path = self._path(segment.number)
        lost = segment.size - segment.read
        if not segment.closed:
            self._close_segment()
        path.with_suffix(".bad").write_bytes(path.read_bytes()[segment.read :])
        os.truncate(path, segment.read)
        self.bytes -= lost
        segment.size = segment.read
        segment.closed = True

    def _set_aside(self, path: Path) -> None:
        self.damaged += 1
        path.rename(path.with_suffix(".bad"))


def _frames(records: Iterable[Record], flag: int) -> list[bytes]:
    frames: list[bytes] = []
    some: list[Record] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record[2])
        if size >= FRAME_BYTES:
            frames.append(_frame(some, flag))
            some, size = [], 0
    return [*frames, _frame(some, flag)] if some else frames


def _frame(records: list[Record], flag: int) -> bytes:
    body = _encode(records)
    head = struct.pack("<III", len(body), crc32(body), flag)
    return head + struct.pack("<I", crc32(head)) + body
