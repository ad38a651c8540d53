"""The archive, without a network: a request for a file in, an answer out.

A request is taken in two steps: `plan` reads clock, faults and counts and belongs to the event loop's thread; `answer`
builds the file and may run beside it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from gapless.errors import ConfigError
from replica.answer import Answer
from replica.exchange import Exchange
from replica.fault_schema import CONTENT_ACTIONS, Action, Replaced
from replica.faults import Occasion
from replica.noise import word
from replica.vision.delivery import delivered
from replica.vision.listing import every_file
from replica.vision.objects import CHECKSUM, KLINES, ArchiveFile, parse_path
from replica.vision.ranges import Unsatisfiable, byte_range
from replica.vision.spoiling import Fault, spoilt
from replica.vision.store import ZipCache, available_ms, exists, original, restated
from replica.vision.xml import error_xml, missing_key
from replica.vision.zipped import Zipped, etag

PREFIX = "/vision/"
_MOST_REPUBLISHED = 10_000
_MOST_KNOWN = 100_000


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

    @property
    def checksum(self) -> bool:
        """Whether it asks for a CHECKSUM."""
        return self.key.endswith(CHECKSUM)


@dataclass(frozen=True, slots=True)
class Edition:
    """A file made anew: when, and with which bars changed."""

    at_ms: int
    changes: Mapping[int, Mapping[int, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with all that its answer depends on.

    Attributes:
        file: what is asked for; None where the archive has nothing.
        edition: the newest republication, None for the first.
        content: the faults of the file itself.
        delivery: the faults of this answer.
        part: `zip`, `CHECKSUM` or `HEAD`.
    """

    fetch: Fetch
    part: str
    file: ArchiveFile | None = None
    edition: Edition | None = None
    content: tuple[Fault, ...] = ()
    delivery: tuple[tuple[int, Action], ...] = ()


@dataclass(slots=True)
class Archive:
    """The bucket over an exchange's source, clock, restatements and faults.

    Attributes:
        editions: the files made anew after their first publication, by path.
    """

    exchange: Exchange
    cache: ZipCache = field(default_factory=ZipCache)
    editions: dict[str, Edition] = field(default_factory=dict)
    _known: OrderedDict[str, tuple[Edition | None, str, int]] = field(default_factory=OrderedDict)

    def plan(self, fetch: Fetch) -> Plan:
        """What is asked for, and which faults meet it; they are counted here."""
        part = "HEAD" if fetch.head else "CHECKSUM" if fetch.checksum else "zip"
        file = parse_path(fetch.key.removesuffix(CHECKSUM))
        if file is not None and not self.published(file, self.exchange.clock.now_ms()):
            file = None
        content, delivery = self._faults(fetch, part, file)
        edition = None if file is None else self.editions.get(file.path)
        return Plan(fetch, part, file, edition, tuple(content), tuple(delivery))

    def answer(self, plan: Plan) -> tuple[Answer, frozenset[int]]:
        """S3's answer, and which of the file's faults changed it."""
        fetch, file = plan.fetch, plan.file
        changed: frozenset[int] = frozenset()
        if file is None:
            answer = missing_key(fetch.key)
        else:
            zipped, changed = self._zipped(file, plan)
            gone = {fault.number for fault in plan.content if _withholds(fault.action, checksum=fetch.checksum)}
            changed |= gone
            body = None if gone else zipped.told if fetch.checksum else zipped.data
            if body is None:
                answer = missing_key(fetch.key)
            else:
                tag = etag(body) if fetch.checksum else zipped.etag
                answer = _conditional(fetch, body, tag, self.modified_ms(file))
        for _, action in plan.delivery:
            answer = delivered(answer, action)
        return answer, changed

    def conclude(self, plan: Plan, answer: Answer, changed: frozenset[int]) -> None:
        """Notes what was sent."""
        for fault in plan.content:
            if fault.number not in changed:
                self.exchange.faults.not_applied(fault.number, plan.part)
        kind = "CHECKSUM" if plan.fetch.checksum else "zip"
        self.exchange.stats.archive.count(kind, answer.status, len(answer.body), head=plan.fetch.head)

    def published(self, file: ArchiveFile, now_ms: int) -> bool:
        """Whether the archive has the file at this moment."""
        source = self.exchange.source
        return exists(source, file) and available_ms(source, file) <= now_ms

    def modified_ms(self, file: ArchiveFile) -> int:
        """When it was last put there."""
        edition = self.editions.get(file.path)
        return available_ms(self.exchange.source, file) if edition is None else edition.at_ms

    def known(self, file: ArchiveFile) -> tuple[str, int] | None:
        """Etag and size of the sound file, if it was ever built in its present edition."""
        edition, tag, size = self._known.get(file.path, (None, "", -1))
        return (tag, size) if size >= 0 and edition is self.editions.get(file.path) else None

    def republish(self, pattern: Any) -> list[str]:
        """Makes the published files of a path, or of a glob over paths, anew with the restatements of this moment.

        Returns:
            their paths.

        Raises:
            ConfigError: no such file is published, or too many are meant.
        """
        if not isinstance(pattern, str):
            raise ConfigError('republish wants {"path": "data/...zip"}, a glob over the paths of archive files')
        now_ms = self.exchange.clock.now_ms()
        prefix = pattern[: min((pattern.find(mark) for mark in "*?[" if mark in pattern), default=len(pattern))]
        found = [file for file in every_file(self.exchange.source, now_ms, prefix) if fnmatchcase(file.path, pattern)]
        if not found:
            raise ConfigError(f"no archive file {pattern} is published at this moment")
        if len(self.editions.keys() | {file.path for file in found}) > _MOST_REPUBLISHED:
            raise ConfigError(f"{pattern} means {len(found)} files; {_MOST_REPUBLISHED} can be republished")
        for file in found:
            changes = self.exchange.restatements.snapshot(file.market, file.symbol, file.interval)
            self.editions[file.path] = Edition(now_ms, changes if file.kind == KLINES else {})
        return [file.path for file in found]

    def _faults(
        self, fetch: Fetch, part: str, file: ArchiveFile | None
    ) -> tuple[list[Fault], list[tuple[int, Action]]]:
        content: list[Fault] = []
        delivery: list[tuple[int, Action]] = []
        faults = self.exchange.faults
        if not faults.script.rules:
            return content, delivery
        path = PREFIX + (file.path if file else fetch.key.removesuffix(CHECKSUM))
        occasion = Occasion(
            PREFIX + fetch.key,
            file.market if file else None,
            file.symbol if file else "",
            file.interval if file else "",
            self.exchange.clock.now_ms(),
            part,
            path,
        )
        ended = False
        for number, action in faults.meeting(occasion):
            if action.name in CONTENT_ACTIONS:
                if file is not None and self._due(number, action, occasion):
                    content.append(Fault(number, action, word(faults.file_key(number, path), 1)))
                    faults.applied(number, part)
            elif not ended and action.name != "stale_list":
                delivery.append((number, action))
                faults.applied(number, part)
                ended = action.ends
        return content, delivery

    def _due(self, number: int, action: Action, occasion: Occasion) -> bool:
        if not action.replaced:
            return True
        replaced = action.replaced if isinstance(action.replaced, Replaced) else Replaced()
        return self.exchange.faults.is_replaced(number, occasion, replaced.after)

    def _zipped(self, file: ArchiveFile, plan: Plan) -> tuple[Zipped, frozenset[int]]:
        at_ms = None if plan.edition is None else plan.edition.at_ms
        sound = self.cache.get((file.path, at_ms), lambda: (self._sound(file, plan.edition), frozenset()))
        self._known[file.path] = (plan.edition, sound[0].etag, len(sound[0].data))
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        if not plan.content:
            return sound
        faults = tuple((fault.number, fault.draw, msgspec.json.encode(fault.action)) for fault in plan.content)
        return self.cache.get((file.path, at_ms, faults), lambda: spoilt(file, sound[0], plan.content))

    def _sound(self, file: ArchiveFile, edition: Edition | None) -> Zipped:
        first = original(self.exchange.source, file)
        return first if edition is None or not edition.changes else restated(file, first, edition.changes)


def _withholds(action: Action, *, checksum: bool) -> bool:
    return bool(action.missing) and (action.missing in (True, "both") or (action.missing == "checksum") is checksum)


def _conditional(fetch: Fetch, body: bytes, tag: str, modified_ms: int) -> Answer:
    headers = {"ETag": tag, "Last-Modified": formatdate(modified_ms / 1000, usegmt=True), "Accept-Ranges": "bytes"}
    kind = "binary/octet-stream" if fetch.checksum else "application/zip"
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
