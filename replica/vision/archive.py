"""The archive, without a network: a request for a file in, an answer out."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime

from replica.answer import Answer
from replica.exchange import Exchange
from replica.vision.objects import CHECKSUM, ArchiveFile, parse_path
from replica.vision.ranges import Unsatisfiable, byte_range
from replica.vision.store import ZipCache, available_ms, exists, original
from replica.vision.xml import error_xml
from replica.vision.zipped import Zipped, etag

PREFIX = "/vision/"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request for an object of the bucket.

    Attributes:
        key: `data/spot/daily/...`, decoded.
        head: whether only the headers are wanted.
        byte_range, none_match, modified_since: the headers `Range`, `If-None-Match`, `If-Modified-Since`.
    """

    key: str
    head: bool = False
    byte_range: str | None = None
    none_match: str | None = None
    modified_since: str | None = None


@dataclass(slots=True)
class Archive:
    """The bucket over an exchange's source and clock."""

    exchange: Exchange
    cache: ZipCache = field(default_factory=ZipCache)

    def answer(self, fetch: Fetch) -> Answer:
        """S3's answer to a request for an object."""
        checksum = fetch.key.endswith(CHECKSUM)
        file = parse_path(fetch.key.removesuffix(CHECKSUM))
        if file is None or not self._published(file):
            return missing_key(fetch.key)
        zipped = self._zipped(file)
        body = zipped.told if checksum else zipped.data
        if body is None:
            return missing_key(fetch.key)
        return _conditional(
            fetch, body, etag(body) if checksum else zipped.etag, available_ms(self.exchange.source, file)
        )

    def _published(self, file: ArchiveFile) -> bool:
        source = self.exchange.source
        return exists(source, file) and available_ms(source, file) <= self.exchange.clock.now_ms()

    def _zipped(self, file: ArchiveFile) -> Zipped:
        return self.cache.get(file.path, lambda: original(self.exchange.source, file))


def missing_key(key: str) -> Answer:
    """S3's 404."""
    return Answer(404, error_xml("NoSuchKey", "The specified key does not exist.", Key=key), {}, "application/xml")


def _conditional(fetch: Fetch, body: bytes, tag: str, modified_ms: int) -> Answer:
    headers = {"ETag": tag, "Last-Modified": formatdate(modified_ms / 1000, usegmt=True), "Accept-Ranges": "bytes"}
    kind = "binary/octet-stream" if fetch.key.endswith(CHECKSUM) else "application/zip"
    if _unchanged(fetch, tag, modified_ms):
        return Answer(304, b"", headers, kind)
    try:
        part = byte_range(fetch.byte_range, len(body))
    except Unsatisfiable:
        text = error_xml("InvalidRange", "The requested range is not satisfiable")
        return Answer(416, text, {"Content-Range": f"bytes */{len(body)}"}, "application/xml")
    if part is None:
        return Answer(200, body, headers, kind)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
    return Answer(206, body[part], headers, kind)


def _unchanged(fetch: Fetch, tag: str, modified_ms: int) -> bool:
    if fetch.none_match is not None:
        wanted = [one.strip().removeprefix("W/") for one in fetch.none_match.split(",")]
        return tag in wanted or "*" in wanted
    if fetch.modified_since is None:
        return False
    try:
        since = parsedate_to_datetime(fetch.modified_since).timestamp()
    except (TypeError, ValueError):
        return False
    return modified_ms // 1000 <= since
