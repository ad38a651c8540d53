"""A plain client of the archive: urllib, zipfile and hashlib."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass

from tests.fixtures.replica import ReplicaHandle


@dataclass(frozen=True, slots=True)
class Got:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(replica: ReplicaHandle, path: str, *, method: str = "GET", **headers: str) -> Got:
    """Asks the archive for `data/...`; 4xx and 3xx are answers too. Header names with underscores for dashes."""
    url = f"{replica.vision}/{urllib.parse.quote(path)}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Got(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        return Got(error.code, dict(error.headers), error.read())


def lines(replica: ReplicaHandle, path: str) -> list[str]:
    """The lines of the one member of a file that must be there and whole."""
    return member(get(replica, path).body, path)


def member(data: bytes, path: str) -> list[str]:
    """The lines of the one member of a ZIP."""
    name = path.rpartition("/")[2].removesuffix(".zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [f"{name}.csv"]
        return archive.read(f"{name}.csv").decode().splitlines()


def told(replica: ReplicaHandle, path: str) -> str:
    """The sha256 that the file's CHECKSUM names."""
    text = get(replica, path + ".CHECKSUM").body.decode()
    digest, name = text.removesuffix("\n").split("  ")
    assert name == path.rpartition("/")[2]
    return digest


def true_checksum(replica: ReplicaHandle, path: str) -> bool:
    """Whether the CHECKSUM fits the file."""
    return told(replica, path) == hashlib.sha256(get(replica, path).body).hexdigest()
