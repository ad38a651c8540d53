"""The bucket's listing as S3 gives it: ListObjects, both versions, over the files published at a moment.

Size and ETag of a file that was never asked for are not known without building it; it is listed with size 0 and the
ETag of nothing. The listing is a hint on the exchange too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, iso, month_start, next_month
from replica.answer import Answer
from replica.bars import INTERVAL_MS
from replica.source import Source
from replica.vision.objects import CHECKSUM, FOLDERS, FUNDING, KLINES, METRICS, ArchiveFile, parse_path
from replica.vision.store import available_ms, exists
from replica.vision.xml import NAMESPACE, document, element, error_xml

BUCKET = "data.binance.vision"
MOST_KEYS = 1000
_NOTHING_ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'
_LAST = "\U0010ffff"


class WrongListing(Exception):
    """A parameter that S3 refuses with 400 InvalidArgument."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A checked listing request. `after` is the marker, the start-after or what the continuation token says."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    most: int = MOST_KEYS
    version: int = 1
    marker: str = ""
    token: str = ""
    url_encoded: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands in the listing for one object."""

    modified_ms: int
    etag: str
    size: int


def list_query(params: Mapping[str, str]) -> ListQuery:
    """A listing request from its parameters.

    Raises:
        WrongListing: `max-keys` is no number, the token is not ours, or the delimiter is not `/`.
    """
    most, delimiter = params.get("max-keys", str(MOST_KEYS)), params.get("delimiter", "")
    if not (most.isascii() and most.isdecimal()):
        raise WrongListing("max-keys")
    if delimiter not in ("", "/"):
        raise WrongListing("delimiter")
    version = 2 if params.get("list-type") == "2" else 1
    token, marker = params.get("continuation-token", ""), params.get("marker", "")
    after = marker if version == 1 else params.get("start-after", "")
    if version == 2 and token:
        try:
            after = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise WrongListing("continuation-token") from None
    encoded = params.get("encoding-type") == "url"
    return ListQuery(
        params.get("prefix", ""), delimiter, after, min(int(most), MOST_KEYS), version, marker, token, encoded
    )


def every_file(source: Source, now_ms: int, prefix: str = "") -> Iterator[ArchiveFile]:
    """The published files whose path begins with a prefix, in the order of their keys."""
    for folder in _folders(source):
        if folder.startswith(prefix) or prefix.startswith(folder):
            for file in _files(source, folder, now_ms):
                if file.path.startswith(prefix):
                    yield file


def listing(source: Source, now_ms: int, query: ListQuery, tell: Callable[[ArchiveFile, bool], Listed]) -> Answer:
    """The XML of a page.

    Args:
        tell: what to say of a file's ZIP (False) or CHECKSUM (True).
    """
    keys: list[str] = []
    prefixes: list[str] = []
    last, truncated = "", False
    for name, file in _entries(source, now_ms, query):
        if len(keys) + len(prefixes) == query.most:
            truncated = bool(query.most)
            break
        last = name
        if file is None:
            prefixes.append(element("CommonPrefixes", "", element("Prefix", _written(name, query))))
        else:
            keys.append(_contents(name, query, tell(file, name.endswith(CHECKSUM))))
    parts = [element("Name", BUCKET), element("Prefix", _written(query.prefix, query))]
    if query.version == 1:
        parts.append(element("Marker", _written(query.marker, query)))
        if truncated and query.delimiter:  # S3 leaves it out otherwise: the last key is the marker then
            parts.append(element("NextMarker", _written(last, query)))
    else:
        parts.append(element("KeyCount", len(keys) + len(prefixes)))
        if query.token:
            parts.append(element("ContinuationToken", query.token))
        if truncated:
            parts.append(element("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode()))
    parts.append(element("MaxKeys", query.most))
    if query.delimiter:
        parts.append(element("Delimiter", query.delimiter))
    if query.url_encoded:
        parts.append(element("EncodingType", "url"))
    parts.append(element("IsTruncated", "true" if truncated else "false"))
    body = document("ListBucketResult", "".join([*parts, *keys, *prefixes]), NAMESPACE)
    return Answer(200, body, {}, "application/xml")


def refused_listing(error: WrongListing) -> Answer:
    """S3's 400."""
    text = error_xml("InvalidArgument", f"Provided {error} not valid", ArgumentName=str(error))
    return Answer(400, text, {}, "application/xml")


def nothing_known(modified_ms: int) -> Listed:
    """What is said of a file that was never built."""
    return Listed(modified_ms, _NOTHING_ETAG, 0)


def _entries(source: Source, now_ms: int, query: ListQuery) -> Iterator[tuple[str, ArchiveFile | None]]:
    """Keys with their files, and common prefixes with None, all behind `after`."""
    seen = ""
    for folder in _folders(source):
        if not (folder.startswith(query.prefix) or query.prefix.startswith(folder)) or folder + _LAST <= query.after:
            continue
        deeper = folder[len(query.prefix) :] if query.delimiter and folder.startswith(query.prefix) else ""
        if deeper:
            common = query.prefix + deeper.split("/")[0] + "/"
            if common in (seen, query.after) or common + _LAST <= query.after:
                continue
            if next(_files(source, folder, now_ms), None) is not None:
                seen = common
                yield common, None
            continue
        for file in _files(source, folder, now_ms):
            for key in (file.path, file.path + CHECKSUM):
                if key > query.after and key.startswith(query.prefix):
                    yield key, file


def _contents(key: str, query: ListQuery, told: Listed) -> str:
    modified = iso(told.modified_ms // 1000 * 1000).removesuffix("Z") + ".000Z"
    parts = [
        element("Key", _written(key, query)),
        element("LastModified", modified),
        element("ETag", told.etag),
        element("Size", told.size),
        element("StorageClass", "STANDARD"),
    ]
    return element("Contents", "", "".join(parts))


def _written(key: str, query: ListQuery) -> str:
    return quote(key) if query.url_encoded else key


def _folders(source: Source) -> list[str]:
    """Every folder that can hold files, in the order of their keys."""
    folders = []
    for market in Market:
        head = f"data/{FOLDERS[market]}"
        for symbol in source.archive_symbols(market):
            for cut in ("daily", "monthly"):
                folders += [f"{head}/{cut}/{KLINES}/{symbol}/{interval}/" for interval in INTERVAL_MS]
            if market is Market.UM:
                folders += [f"{head}/monthly/{FUNDING}/{symbol}/", f"{head}/daily/{METRICS}/{symbol}/"]
    return sorted(folders)


def _files(source: Source, folder: str, now_ms: int) -> Iterator[ArchiveFile]:
    """The published files of a folder, oldest first."""
    parts = folder.removeprefix("data/futures/").removeprefix("data/").split("/")
    market, monthly, kind, symbol = Market(parts[0]), parts[1] == "monthly", parts[2], parts[3]
    interval = parts[4] if kind == KLINES else ""
    of_bars = kind == KLINES
    span = source.archive_span(market, symbol, interval) if of_bars else source.series.archive_span(kind, symbol)
    recorded = [file for path in source.recorded_below(folder) if (file := parse_path(path)) is not None]
    periods = _periods(span, now_ms, monthly=monthly) if span is not None else iter(())
    made = (ArchiveFile(market, kind, symbol, interval, monthly, period) for period in periods)
    for file in sorted({*made, *recorded}, key=lambda file: file.period.start_ms) if recorded else made:
        if exists(source, file) and available_ms(source, file) <= now_ms:
            yield file


def _periods(span: Window, now_ms: int, *, monthly: bool) -> Iterator[Window]:
    start_ms = month_start(span.start_ms) if monthly else span.start_ms // DAY_MS * DAY_MS
    while start_ms < min(span.end_ms, now_ms):
        end_ms = next_month(start_ms) if monthly else start_ms + DAY_MS
        yield Window(start_ms, end_ms)
        start_ms = end_ms
