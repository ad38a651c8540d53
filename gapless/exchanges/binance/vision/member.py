"""The one file inside an archive ZIP, inflated within bounds and proved by its CRC; all that is wrong has a name."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO

from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision.objects import ArchiveObject

MAX_MEMBER_BYTES = 64 << 20
"""The most a file may hold inflated. The largest read here, a month of 1m bars, has 8 MB."""

_LOCAL_HEADER = 30
_ENCRYPTED = 1


class BrokenFile(ExchangeError):
    """An archive object that cannot be read as what it should be. Nothing of it is taken.

    Attributes:
        reason: `empty` (no bytes, or no rows), `html` (a web page instead of a ZIP), `zip` (no ZIP, damaged, encrypted,
            too large, or not holding the one expected file), `header` (columns that nobody documented), `columns` (no
            row has as many values as there are columns).
    """

    kind = "broken_file"

    def __init__(self, obj: ArchiveObject, reason: str, what: str) -> None:
        super().__init__(
            f"binance archive {obj.path}: {what}; nothing of it was taken, the stretch "
            f"{obj.window} has to come from another source (daily files, REST)"
        )
        self.reason = reason


def read_member(data: bytes, obj: ArchiveObject) -> bytes:
    """The bytes of the one file that the ZIP must hold, `obj.member`.

    Raises:
        BrokenFile: `empty`, `html` or `zip`.
    """
    if not data:
        raise BrokenFile(obj, "empty", "the file is empty")
    if data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        raise BrokenFile(obj, "html", "a web page (or XML) instead of a ZIP")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise BrokenFile(obj, "zip", f"not a readable ZIP ({error})") from None
    names = [member.filename for member in members]
    if names != [obj.member]:
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") or "nothing"
        raise BrokenFile(obj, "zip", f"it holds {shown} where {obj.member} alone belongs")
    return _inflate(data, members[0], obj)


def _inflate(data: bytes, member: zipfile.ZipInfo, obj: ArchiveObject) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise BrokenFile(obj, "zip", "its file is encrypted")
    if member.file_size > MAX_MEMBER_BYTES:
        raise BrokenFile(obj, "zip", f"its file claims {member.file_size} bytes, more than {MAX_MEMBER_BYTES}")
    packed = _packed(data, member)
    if len(packed) != member.compress_size:
        raise BrokenFile(obj, "zip", "the ZIP is cut")
    if member.compress_type == zipfile.ZIP_STORED:
        text, whole = bytes(packed[: member.file_size]), member.compress_size == member.file_size
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        # Not zipfile's own reader: it believes the claimed size only after inflating up to 2 GiB.
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            text = inflater.decompress(packed, member.file_size + 1)
        except zlib.error as error:
            raise BrokenFile(obj, "zip", f"its file does not inflate ({error})") from None
        whole = inflater.eof and len(text) == member.file_size
    else:
        raise BrokenFile(obj, "zip", f"compression method {member.compress_type} is not known here")
    if not whole:
        raise BrokenFile(obj, "zip", f"its file is not the {member.file_size} bytes it claims")
    if zlib.crc32(text) != member.CRC:
        raise BrokenFile(obj, "zip", "its file does not match its CRC")
    return text


def _packed(data: bytes, member: zipfile.ZipInfo) -> memoryview:
    """The compressed bytes; shorter than claimed when the ZIP ends before them."""
    at = member.header_offset
    header = data[at : at + _LOCAL_HEADER]
    if header[:4] != b"PK\x03\x04":
        return memoryview(b"")
    begin = at + _LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return memoryview(data)[begin : begin + member.compress_size]
