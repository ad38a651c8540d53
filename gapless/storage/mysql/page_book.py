"""The book of pages: what somebody was told, of which gaps, and by whom. Written under the lock `pages` alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.mysql import insert

from gapless.storage.mysql.books import data_gap_log, moment, moment_or_none, ms_of, page
from gapless.storage.mysql.gap_states import FAILED, OPEN, REFILLING, Gap
from gapless.storage.mysql.gaps import gap_of, gaps_lock
from gapless.storage.mysql.server import MySql

SENDING, SENT, RESOLVING, RESOLVED = "sending", "sent", "resolving", "resolved"
STANDING = (OPEN, REFILLING, FAILED)
"""States of a gap that is not over."""

_PIECE = 500
_LOCK_WAIT_S = 180.0


class PageDetail(msgspec.Struct, frozen=True):
    """What a page says, and who was told.

    Attributes:
        revision: counts up when there is more to be told than before.
        tried: receivers that it was sent to, whether they took it or not: noted before the sending.
        told: the revision that each receiver took.
        cleared: receivers that took its end.
    """

    facts: dict[str, Any]
    source: str
    component: str
    group: str
    link: str = ""
    runbook: str = ""
    revision: int = 1
    tried: tuple[str, ...] = ()
    told: dict[str, int] = {}
    cleared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page on record.

    Attributes:
        key: at most 64 ASCII characters.
        kind: `gap` or `quality`.
        state: `sending` (nobody has taken it yet), `sent`, `resolving` (over, not all receivers know it), `resolved`.
    """

    key: str
    kind: str
    summary: str
    detail: PageDetail
    state: str
    created_ms: int
    sent_ms: int | None = None
    resolved_ms: int | None = None


Claim = tuple[StoredPage, Sequence[int]]
"""A page as it is to be, and the ids of the gaps that become its own."""


@contextmanager
def pages_locked(db: MySql) -> Iterator[None]:
    """Be the only one who tells of pages; a second one waits until the first has sent.

    Raises:
        StorageError: the server does not answer, or the other one takes longer than the receivers' patience.
    """
    with db.named_locks(["pages"], timeout_s=_LOCK_WAIT_S):
        yield


def read_pages(db: MySql, states: Collection[str], *, newest: int | None = None) -> list[StoredPage]:
    """The pages in these states, oldest first; of more than `newest` the newest.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    return db.run("reading the pages", lambda connection: _read(connection, states, newest))


def read_page(db: MySql, key: str) -> StoredPage | None:
    """The page of that key.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = select(page).where(page.c.page_key == key)
    row = db.run(f"reading the page {key}", lambda connection: connection.execute(statement).mappings().first())
    return None if row is None else _stored(row)


def put_page(db: MySql, stored: StoredPage) -> None:
    """Enter a page, or replace what is on record of it.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    db.run(f"entering the page {stored.key}", lambda connection: _put(connection, stored))


def put_sent(db: MySql, stored: StoredPage, at_ms: int) -> None:
    """Enter a page that a receiver took; its gaps know the time of it.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    log = data_gap_log.c
    known = update(data_gap_log).where(log.page_key == stored.key, log.page_sent_at.is_(None))

    def attempt() -> None:
        # Under the log's own lock, or a look that is just being recorded would write its gaps back as it read them.
        lock = gaps_lock(stored.detail.group, stored.detail.component)
        with db.named_locks([lock]) as connection, connection.begin():
            _put(connection, stored)
            connection.execute(known.values(page_sent_at=moment(at_ms)))

    db.retry(f"entering the page {stored.key} as sent", attempt)


def claim_failed_gaps(
    db: MySql, decide: Callable[[Sequence[Gap], Sequence[StoredPage]], Sequence[Claim]]
) -> list[StoredPage]:
    """Give every failed gap that has no page one; returns the pages that were made or extended.

    All or nothing for each dataset: a page stands in the book exactly when its gaps carry its key, before anything is
    sent.

    Args:
        decide: told the unpaged failed gaps of one exchange and dataset, by time, and the pages that are not over, says
            which page each gap belongs to.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    log = data_gap_log.c
    waiting = (log.state == FAILED, log.page_key.is_(None))
    datasets = select(log.exchange, log.dataset).where(*waiting).distinct().order_by(log.exchange, log.dataset)
    found = db.run("looking for gaps that nobody was told of", lambda c: [tuple(row) for row in c.execute(datasets)])

    def attempt(exchange: str, dataset: str) -> list[StoredPage]:
        mine = select(data_gap_log).where(*waiting, log.exchange == exchange, log.dataset == dataset)
        mine = mine.order_by(log.gap_start, log.symbol, log.interval)
        with db.named_locks([gaps_lock(exchange, dataset)]) as connection, connection.begin():
            gaps = [gap_of(row) for row in connection.execute(mine).mappings()]
            claims = decide(gaps, _read(connection, (SENDING, SENT, RESOLVING), None)) if gaps else []
            for stored, ids in claims:
                _put(connection, stored)
                for at in range(0, len(ids), _PIECE):
                    theirs = update(data_gap_log).where(log.id.in_(ids[at : at + _PIECE]))
                    connection.execute(theirs.values(page_key=stored.key))
        return [stored for stored, _ in claims]

    pages: list[StoredPage] = []
    for exchange, dataset in found:
        what = f"giving the failed gaps of {exchange} {dataset} their page"
        pages += db.retry(what, lambda exchange=exchange, dataset=dataset: attempt(exchange, dataset))  # type: ignore[misc]
    return pages


def standing_gaps(db: MySql, keys: Sequence[str]) -> dict[str, list[Gap]]:
    """Of each page the gaps that are not over, by time.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    log = data_gap_log.c

    def read(connection: Connection) -> dict[str, list[Gap]]:
        found: dict[str, list[Gap]] = defaultdict(list)
        for at in range(0, len(keys), _PIECE):
            statement = select(data_gap_log).where(
                log.page_key.in_(keys[at : at + _PIECE]), log.state.in_(STANDING)
            )  # fmt: skip
            statement = statement.order_by(log.gap_start, log.symbol, log.interval)
            for row in connection.execute(statement).mappings():
                found[row["page_key"]].append(gap_of(row))
        return found

    return db.run("reading the gaps of the open pages", read) if keys else {}


def count_untold(db: MySql) -> int:
    """How many failed gaps there are that nobody was told of.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    log = data_gap_log.c
    joined = data_gap_log.outerjoin(page, page.c.page_key == log.page_key)
    nobody = or_(log.page_key.is_(None), page.c.state == SENDING)
    statement = select(func.count()).select_from(joined).where(log.state == FAILED, nobody)
    return db.run("counting the gaps that nobody was told of", lambda c: int(c.scalar(statement) or 0))


def _read(connection: Connection, states: Collection[str], newest: int | None) -> list[StoredPage]:
    statement = select(page).where(page.c.state.in_(sorted(states)))
    statement = statement.order_by(page.c.created_at.desc(), page.c.page_key.desc())
    if newest is not None:
        statement = statement.limit(newest)
    return [_stored(row) for row in connection.execute(statement).mappings()][::-1]


def _put(connection: Connection, stored: StoredPage) -> None:
    values = {
        "page_key": stored.key,
        "kind": stored.kind,
        "summary": stored.summary,
        "detail": msgspec.json.encode(stored.detail, order="deterministic", enc_hook=str).decode(),
        "state": stored.state,
        "created_at": moment(stored.created_ms),
        "sent_at": moment_or_none(stored.sent_ms),
        "resolved_at": moment_or_none(stored.resolved_ms),
    }
    statement = insert(page).values(values)
    again = {name: statement.inserted[name] for name in values if name != "page_key"}
    connection.execute(statement.on_duplicate_key_update(again))


def _stored(row: Mapping[Any, Any]) -> StoredPage:
    return StoredPage(
        key=row["page_key"],
        kind=row["kind"],
        summary=row["summary"],
        detail=msgspec.json.decode(row["detail"], type=PageDetail),
        state=row["state"],
        created_ms=ms_of(row["created_at"]),
        sent_ms=None if row["sent_at"] is None else ms_of(row["sent_at"]),
        resolved_ms=None if row["resolved_at"] is None else ms_of(row["resolved_at"]),
    )
