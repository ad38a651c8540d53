"""The review queue: stored rows that look wrong though they break no rule, and what a person said of each.

A row under review stays where it is, and so does one that a person called wrong: it is what the exchange says. The
queue marks it. A review is of a row with its values, so that the same values are never asked about twice, and a row
that the exchange restated later is new.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.mysql import insert

from gapless.domain.window import Window, iso
from gapless.errors import NotFound
from gapless.storage.mysql.books import moment, ms_of
from gapless.storage.mysql.books import review as review_table
from gapless.storage.mysql.refused import clean_text
from gapless.storage.mysql.server import MySql

WAITING, ACCEPTED, REJECTED, SUPERSEDED = "waiting", "accepted", "rejected", "superseded"
STATES = (WAITING, ACCEPTED, REJECTED, SUPERSEDED)
"""`accepted`: the row is right. `rejected`: it is wrong on the exchange's side; kept, and marked so. `superseded`:
the stored row has other values now, or is gone, before anybody decided."""

_PIECE = 500
_TEXT_BYTES = 60_000
_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Review:
    """A row that a person is asked about.

    Attributes:
        ts_ms: its label (`ts`).
        rule: the rule that noticed it. measured, allowed: what is, and what would have passed.
        detail: the same in a sentence.
        row_values: the row as it was: exact texts by column.
        decided_by, note: who decided, and what they said of it; empty while nobody has.
        id: its number in the queue; 0 before it has one.
    """

    dataset: str
    exchange: str
    symbol: str
    interval: str
    ts_ms: int
    rule: str
    measured: str
    allowed: str
    detail: str
    row_values: Mapping[str, str]
    state: str = WAITING
    noticed_ms: int = 0
    decided_ms: int | None = None
    decided_by: str = ""
    note: str = ""
    id: int = field(default=0, compare=False)

    @property
    def identity(self) -> str:
        """sha256 (hex) over the row with its values, and the rule."""
        parts = (self.dataset, self.exchange, self.symbol, self.interval, self.ts_ms, self.rule, self.values_text)
        return sha256("\0".join(str(part) for part in parts).encode()).hexdigest()

    @property
    def values_text(self) -> str:
        """`row_values` as stored: a JSON object, columns in order."""
        return msgspec.json.encode(dict(self.row_values), order="sorted").decode()

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval} {iso(self.ts_ms)}"


def put_reviews(db: MySql, reviews: Sequence[Review]) -> int:
    """Put rows into the queue that are not in it; returns how many were new. Those in it stay as they are.

    A row that was superseded and has the same values again waits again, and counts as new: nobody has decided on it.

    Raises:
        StorageError: the server did not take them for as long as retries last.
    """
    by_identity = {each.identity: each for each in reviews}
    if not by_identity:
        return 0
    identities = sorted(by_identity)

    def put(connection: Connection) -> int:
        now, added = _now(), 0
        for at in range(0, len(identities), _PIECE):
            piece = identities[at : at + _PIECE]
            here = review_table.c.identity.in_(piece)
            known = set(connection.scalars(select(review_table.c.identity).where(here)))
            again = update(review_table).where(here, review_table.c.state == SUPERSEDED)
            added += connection.execute(again.values(state=WAITING, decided_at=None, note="")).rowcount
            fresh = [identity for identity in piece if identity not in known]
            if not fresh:
                continue
            statement = insert(review_table).values([_row(by_identity[each], each, now) for each in fresh])
            # Another run may be entering the same row just now: whoever comes second leaves it as it is.
            connection.execute(statement.on_duplicate_key_update(identity=statement.inserted.identity))
            added += len(fresh)
        return added

    return db.run(f"entering {len(identities)} rows into the review queue", put)


def read_reviews(
    db: MySql,
    *,
    states: Collection[str] | None = None,
    rules: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
    window: Window | None = None,
    most: int | None = None,
) -> list[Review]:
    """The queue, oldest row first; None takes all.

    Args:
        window: of `ts`. most: at most so many.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = review_table.c
    statement = select(review_table).order_by(table.ts, table.symbol, table.interval, table.id)
    for column, wanted in ((table.state, states), (table.rule, rules), (table.symbol, symbols)):
        if wanted is not None:
            statement = statement.where(column.in_(sorted(wanted)))
    if window is not None:
        statement = statement.where(table.ts >= moment(window.start_ms), table.ts < moment(window.end_ms))
    if most is not None:
        statement = statement.limit(most)
    rows = db.run("reading the review queue", lambda connection: connection.execute(statement).mappings().all())
    return [
        Review(
            dataset=row["dataset"],
            exchange=row["exchange"],
            symbol=row["symbol"],
            interval=row["interval"],
            ts_ms=ms_of(row["ts"]),
            rule=row["rule"],
            measured=row["measured"],
            allowed=row["allowed"],
            detail=row["detail"],
            row_values=msgspec.json.decode(row["row_values"], type=dict[str, str]),
            state=row["state"],
            noticed_ms=ms_of(row["noticed_at"]),
            decided_ms=None if row["decided_at"] is None else ms_of(row["decided_at"]),
            decided_by=row["decided_by"],
            note=row["note"],
            id=row["id"],
        )
        for row in rows
    ]


def count_reviews(db: MySql) -> dict[str, int]:
    """How many rows are in the queue, by state.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = select(review_table.c.state, func.count()).group_by(review_table.c.state)
    counted = db.run("counting the review queue", lambda connection: connection.execute(statement).all())
    return dict.fromkeys(STATES, 0) | {row[0]: row[1] for row in counted}


def decide_reviews(db: MySql, ids: Collection[int], state: str, *, by: str, note: str = "") -> int:
    """Enter a person's decision on some rows, all or none; returns how many it changed.

    Decided again, the last word counts; the one before is kept in the note.

    Args:
        state: `accepted` or `rejected`.

    Raises:
        NotFound: one of them is not in the queue; nothing was entered.
        StorageError: the server did not take it for as long as retries last.
    """
    wanted = sorted(set(ids))
    table = review_table.c

    def decide(connection: Connection) -> int:
        held = {
            row["id"]: row
            for row in connection.execute(select(review_table).where(table.id.in_(wanted)).with_for_update()).mappings()
        }
        if unknown := [str(each) for each in wanted if each not in held]:
            raise NotFound(f"no review has the number {', '.join(unknown)}; `gapless review list` shows them")
        changed = 0
        for number in wanted:
            row = held[number]
            if (row["state"], row["decided_by"]) == (state, by) and (not note or row["note"] == note):
                continue
            said = [note] if note else []
            if row["decided_at"] is not None:
                said.append(f"[{row['state']} by {row['decided_by']} on {iso(ms_of(row['decided_at']))}]")
                said += [row["note"]] if row["note"] else []
            connection.execute(
                update(review_table)
                .where(table.id == number)
                .values(
                    state=state,
                    decided_at=_now(),
                    decided_by=by[:_NAME_CHARACTERS],
                    note=clean_text(" ".join(said), _TEXT_BYTES),
                )
            )
            changed += 1
        return changed

    return db.run(f"entering a decision on {len(wanted)} reviews", decide)


def supersede_reviews(db: MySql, ids: Collection[int], note: str) -> int:
    """Take rows out of waiting whose values are no longer what is stored; decided ones stay. Returns how many.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    if not ids:
        return 0
    table = review_table.c
    statement = (
        update(review_table)
        .where(table.id.in_(sorted(ids)), table.state == WAITING)
        .values(state=SUPERSEDED, decided_at=_now(), note=note)
    )
    return db.run(f"superseding {len(ids)} reviews", lambda connection: int(connection.execute(statement).rowcount))


def _row(each: Review, identity: str, now: datetime) -> dict[str, object]:
    return {
        "identity": identity,
        "dataset": each.dataset,
        "exchange": each.exchange,
        "symbol": each.symbol,
        "interval": each.interval,
        "ts": moment(each.ts_ms),
        "rule": each.rule,
        "measured": each.measured[:_NAME_CHARACTERS],
        "allowed": each.allowed[:_NAME_CHARACTERS],
        "detail": clean_text(each.detail, _TEXT_BYTES),
        "row_values": each.values_text,
        "state": each.state,
        "noticed_at": now,
        "decided_at": None,
        "decided_by": "",
        "note": "",
    }


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
