"""A ZIP of one CSV, the same bytes whenever it is made, and what is told of it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass

_MADE = (2020, 1, 1, 0, 0, 0)
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Zipped:
    """The bytes of an archive file.

    Attributes:
        sha256: of `data`, hex.
        etag: S3's, the quoted md5 of `data`.
        told: the text of the file's `.CHECKSUM`; None where it has none.
    """

    data: bytes
    sha256: str
    etag: str
    told: bytes | None


def zip_csv(stem: str, text: bytes) -> bytes:
    """A ZIP with one member, `<stem>.csv`; its date is fixed, so that the bytes tell the content alone."""
    info = zipfile.ZipInfo(f"{stem}.csv", date_time=_MADE)
    info.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, text, compress_type=zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
    return buffer.getvalue()


def read_csv(data: bytes) -> bytes:
    """The text of the one member."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(archive.namelist()[0])


def etag(data: bytes) -> str:
    """The quoted md5, as S3 gives it for a file put in one piece."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def checksum_text(sha256: str, name: str) -> bytes:
    """The content of a `.CHECKSUM` file: `<hex>  <name>\\n`."""
    return f"{sha256}  {name}\n".encode()


def sealed(name: str, data: bytes) -> Zipped:
    """The bytes with a checksum file that is true of them."""
    sha256 = hashlib.sha256(data).hexdigest()
    return Zipped(data, sha256, etag(data), checksum_text(sha256, name))
