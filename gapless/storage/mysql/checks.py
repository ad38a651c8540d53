"""What the checks found, run by run, and the totals that outlive the processes which counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.mysql import insert

from gapless.domain.window import Window
from gapless.storage.mysql.books import check_run, counter, moment, ms_of
from gapless.storage.mysql.server import MySql

CLEAN, DIRTY, FAILED = "clean", "dirty", "failed"


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One check of one window.

    Attributes:
        identity: sha256 (hex) of what tells this run from others; written again, its row is replaced.
        kind: `gap_diff`, `audit`, `rules`, `expectations`.
        state: `clean`, `dirty` (it found something) or `failed` (it could not be done).
        result: what it found: plain JSON values.
        link: where a person can look at the run; may be empty.
    """

    identity: str
    kind: str
    dataset: str
    window: Window
    state: str
    result: Mapping[str, Any]
    link: str
    started_ms: int
    finished_ms: int


def put_check(db: MySql, run: CheckRun) -> None:
    """Enter a run, or replace what was entered of it.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    values = {
        "identity": run.identity,
        "kind": run.kind,
        "dataset": run.dataset,
        "window_start": moment(run.window.start_ms),
        "window_end": moment(run.window.end_ms),
        "state": run.state,
        "result": msgspec.json.encode(run.result, order="sorted").decode(),
        "link": run.link,
        "started_at": moment(run.started_ms),
        "finished_at": moment(run.finished_ms),
    }
    statement = insert(check_run).values(values)
    again = statement.on_duplicate_key_update({name: statement.inserted[name] for name in values if name != "identity"})
    db.run(f"entering the {run.kind} of {run.dataset} {run.window}", lambda connection: connection.execute(again))


def read_checks(db: MySql, *, kinds: Collection[str] | None = None, since_ms: int = 0) -> list[CheckRun]:
    """The runs that finished since then, oldest first.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = select(check_run).where(check_run.c.finished_at >= moment(since_ms))
    if kinds is not None:
        statement = statement.where(check_run.c.kind.in_(sorted(kinds)))
    statement = statement.order_by(check_run.c.finished_at, check_run.c.identity)
    rows = db.run("reading the check runs", lambda connection: connection.execute(statement).mappings().all())
    return [
        CheckRun(
            identity=row["identity"],
            kind=row["kind"],
            dataset=row["dataset"],
            window=Window(ms_of(row["window_start"]), ms_of(row["window_end"])),
            state=row["state"],
            result=msgspec.json.decode(row["result"]),
            link=row["link"],
            started_ms=ms_of(row["started_at"]),
            finished_ms=ms_of(row["finished_at"]),
        )
        for row in rows
    ]


def count_up(db: MySql, name: str, amounts: Mapping[tuple[tuple[str, str], ...], int]) -> None:
    """Add to totals.

    Args:
        name: the metric's name without `_total`.
        amounts: by labels, pairs of name and value: `{(("interval", "1m"),): 3}`. Zeros make a total known.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    if not amounts:
        return
    rows = [
        {"name": name, "labels": msgspec.json.encode(dict(labels), order="sorted").decode(), "total": amount}
        for labels, amount in sorted(amounts.items())
    ]
    statement = insert(counter)
    adding = statement.on_duplicate_key_update(total=counter.c.total + statement.inserted.total)
    db.run(f"counting {name}", lambda connection: connection.execute(adding, rows))


def read_counters(db: MySql) -> dict[str, dict[tuple[tuple[str, str], ...], int]]:
    """All totals: by name, then by labels.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """

    def read(connection: Connection) -> dict[str, dict[tuple[tuple[str, str], ...], int]]:
        found: dict[str, dict[tuple[tuple[str, str], ...], int]] = {}
        for row in connection.execute(select(counter).order_by(counter.c.name, counter.c.labels)).mappings():
            labels = tuple(sorted(msgspec.json.decode(row["labels"], type=dict[str, str]).items()))
            found.setdefault(row["name"], {})[labels] = row["total"]
        return found

    return db.run("reading the counters", read)
