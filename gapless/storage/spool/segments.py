"""One file of spooled entries: frames one after another, each checked; where it stops being whole, reading stops.

    file   = magic, frame*
    frame  = body length u32, crc32 of the body u32, crc32 of those two u32 (little endian), body
    body   = zstd(msgpack([[symbol, stream id, event ms, received ns, identity, payload], ...]))

The header has a check of its own, so that a broken length is told from a write that was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec
import zstandard

from gapless.domain.live import Entry, Kind
from gapless.errors import StorageError

MAGIC = b"GLSEG\x00\x00\x01"
FRAME_ENTRIES = 4096
FRAME_BYTES = 4 * 2**20
"""How much a frame holds at most, by entries and by bytes of their payloads: what a reader has in memory."""

_HEADER = struct.Struct("<III")
_LARGEST_BODY = 256 * 2**20
_Row = tuple[str, str, int, int, str, bytes]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Row])


@dataclass(frozen=True, slots=True)
class Damage:
    """The end of a file that could not be read.

    Attributes:
        offset: bytes of the file that were read well.
        lost_bytes: what follows them.
        torn: a last write that was cut off or left without its data, as a crash leaves it: it was never acknowledged.
            Else the file was whole once and is not any more.
        error: what to tell.
    """

    path: Path
    offset: int
    lost_bytes: int
    torn: bool
    error: StorageError


def frames_of(entries: Sequence[Entry]) -> Iterator[bytes]:
    """Entries of one kind, exchange and hour as frames, in their order."""
    rows: list[_Row] = []
    held = 0
    for entry in entries:
        if rows and (len(rows) >= FRAME_ENTRIES or held + len(entry.payload) > FRAME_BYTES):
            yield _frame(rows)
            rows, held = [], 0
        rows.append((entry.symbol, entry.stream_id, entry.event_ms, entry.received_ns, entry.identity, entry.payload))
        held += len(entry.payload)
    if rows:
        yield _frame(rows)


def read_segment(path: Path, kind: Kind, exchange: str, on_damage: Callable[[Damage], None]) -> Iterator[list[Entry]]:
    """The entries of a file, a frame at a time.

    Args:
        on_damage: told once, when the file cannot be read to its end; what precedes was given.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        offset = 0

        def broken(what: str, *, torn: bool) -> Damage:
            error = StorageError(
                f"{path}: {what} at byte {offset}, {size - offset} bytes cannot be read"
                + (" (a last write that was cut off)" if torn else "; compare the disk's health")
            )
            return Damage(path, offset, size - offset, torn, error)

        if not size:
            return  # made, and its writer died before the first entry
        magic = stream.read(len(MAGIC))
        if magic != MAGIC:
            on_damage(broken("this is no segment", torn=MAGIC.startswith(magic) or not magic.strip(b"\0")))
            return
        offset = len(MAGIC)
        while offset < size:
            found = _next(stream, size - offset)
            if isinstance(found, _Broken):
                on_damage(broken(found.what, torn=found.torn))
                return
            rows, length = found
            yield [Entry(kind, exchange, *row) for row in rows]
            offset += length


@dataclass(frozen=True, slots=True)
class _Broken:
    what: str
    torn: bool


def _next(stream: BinaryIO, left: int) -> tuple[list[_Row], int] | _Broken:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return _Broken("half a header", torn=True)
    length, check, own = _HEADER.unpack(header)
    if crc32(header[:8]) != own or length > _LARGEST_BODY:
        return _Broken("no header of a frame", torn=_only_zeros(header, stream))
    if left < _HEADER.size + length:
        return _Broken("half a frame", torn=True)
    body = stream.read(length)
    if crc32(body) != check:
        return _Broken("a frame that fails its check", torn=left == _HEADER.size + length)
    try:
        rows = _decoder.decode(zstandard.ZstdDecompressor().decompress(body, max_output_size=_LARGEST_BODY))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        return _Broken(f"a frame that is none ({error})", torn=False)
    return rows, _HEADER.size + length


def _only_zeros(header: bytes, stream: BinaryIO) -> bool:
    """Whether a file ends in zeros, as one whose size reached the disk and whose data did not."""
    if header.strip(b"\0"):
        return False
    while piece := stream.read(2**20):
        if piece.strip(b"\0"):
            return False
    return True


def _frame(rows: list[_Row]) -> bytes:
    body = zstandard.ZstdCompressor(level=1).compress(_encoder.encode(rows))
    head = struct.pack("<II", len(body), crc32(body))
    return head + struct.pack("<I", crc32(head)) + body
