"""What is due is sent: noted before as tried, after as told; a kill between is made good by the same words again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from msgspec.structs import replace as changed

from gapless.errors import PagerError
from gapless.monitoring.page import GAP, Page, Receiver
from gapless.storage.mysql import MySql
from gapless.storage.mysql.page_book import (
    RESOLVED,
    RESOLVING,
    SENDING,
    SENT,
    StoredPage,
    put_page,
    put_sent,
    read_pages,
)

_ERRORS = 20


@dataclass
class Delivery:
    """One run's way through the open pages; to be made under the lock of the pages.

    Attributes:
        sent: pages that a receiver took for the first time. resolved: pages that are over everywhere now.
        errors: what went wrong, a line each; the pages concerned stay due.
    """

    db: MySql
    receivers: Sequence[Receiver]
    now_ms: int
    sent: int = 0
    resolved: int = 0
    errors: list[str] = field(default_factory=list)
    _away: set[str] = field(default_factory=set)
    _unlisted: int = 0

    def run(self) -> None:
        """Send, repeat and resolve whatever is due.

        Raises:
            StorageError: the book could not be kept.
        """
        pages = [self._send(page) for page in read_pages(self.db, (SENDING, SENT))]
        for receiver in self.receivers:
            if known := [page_of(page) for page in pages if receiver.name in page.detail.told]:
                self._took(receiver, partial(receiver.remind, known, self.now_ms))
        for page in read_pages(self.db, (RESOLVING,)):
            self._resolve(page)
        if self._unlisted:
            self.errors.append(f"and {self._unlisted} more of the kind")

    def _send(self, page: StoredPage) -> StoredPage:
        for receiver in self.receivers:
            name = receiver.name
            if page.detail.told.get(name) == page.detail.revision or name in self._away:
                continue
            if name not in page.detail.tried:
                page = replace(page, detail=changed(page.detail, tried=(*page.detail.tried, name)))
                put_page(self.db, page)
            if self._took(receiver, partial(receiver.trigger, page_of(page), self.now_ms)):
                page = self._note_told(page, name)
        return page

    def _note_told(self, page: StoredPage, name: str) -> StoredPage:
        first = page.state == SENDING
        told = {**page.detail.told, name: page.detail.revision}
        sent_ms = self.now_ms if first else page.sent_ms
        page = replace(page, state=SENT, sent_ms=sent_ms, detail=changed(page.detail, told=told))
        if page.kind == GAP:
            put_sent(self.db, page, self.now_ms)
        else:
            put_page(self.db, page)
        self.sent += first
        return page

    def _resolve(self, page: StoredPage) -> None:
        configured = {receiver.name: receiver for receiver in self.receivers}
        for name in page.detail.tried:
            if name in page.detail.cleared:
                continue
            receiver = configured.get(name)
            if receiver is None:
                self._report(
                    f"the page {page.key} is over, but {name}, which was told of it, is not configured here: configure "
                    f"it, or resolve the page there by hand and run `gapless pages close {page.key}`"
                )
            elif self._took(receiver, partial(receiver.resolve, page_of(page), self.now_ms)):
                page = replace(page, detail=changed(page.detail, cleared=(*page.detail.cleared, name)))
                put_page(self.db, page)
        if set(page.detail.tried) <= set(page.detail.cleared):
            put_page(self.db, replace(page, state=RESOLVED, resolved_ms=self.now_ms))
            self.resolved += 1

    def _took(self, receiver: Receiver, say: Callable[[], None]) -> bool:
        """Whether the receiver took it; one that is away is not asked again in this run."""
        if receiver.name in self._away:
            return False
        try:
            say()
        except PagerError as error:
            if error.away:
                self._away.add(receiver.name)
            self._report(str(error))
            return False
        return True

    def _report(self, error: str) -> None:
        if len(self.errors) < _ERRORS:
            self.errors.append(error)
        else:
            self._unlisted += 1


def page_of(stored: StoredPage) -> Page:
    """What is told of a page on record."""
    detail = stored.detail
    return Page(
        key=stored.key,
        kind=stored.kind,
        summary=stored.summary,
        source=detail.source,
        component=detail.component,
        group=detail.group,
        facts=detail.facts,
        link=detail.link,
        runbook=detail.runbook,
        since_ms=stored.created_ms,
    )
