"""What restored books say of rows that only a server held which is gone: taken back, so that they are brought again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, update

from gapless.domain.datasets import Dataset
from gapless.domain.window import HOUR_MS
from gapless.storage.mysql.books import archive_receipt, load_receipt, moment, month_export, ms_of, series_month
from gapless.storage.mysql.exports import COPYING, DROPPED, LEAVING, RESTORED, VERIFIED
from gapless.storage.mysql.rewriting import REWRITING, Rewritten, call_unfinished

CATCH_UP_MS = 48 * HOUR_MS
"""How far back the hourly runs look for receipts; nobody else asks receipts what is stored."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """How many claims were taken back.

    Attributes:
        months: of series, in the ledger: whole in MySQL, and partial now.
        loads: of the last 48 h on record: taken, and to be taken again.
        exports: of months whose rows MySQL held, in a table of their own or restored.
        objects: of the lake whose content the books do not know for certain; the next repair reads them.
    """

    months: int = 0
    loads: int = 0
    exports: int = 0
    objects: int = 0


@dataclass(frozen=True, slots=True)
class LakeObjectSeen:
    """An object of canonical rows as it lies in the lake now; `changed` when it was written since the snapshot."""

    entry: Rewritten
    bytes: int
    changed: bool


def reopen_claims(connection: Connection, lake: Mapping[str, LakeObjectSeen], root_uri: str) -> Reopened:
    """Take back, in the connection's transaction, what holds only as long as the server that was exported stands.

    Ledger lines of MySQL become partial and count no row, so that a backfill loads their months again. Loads of the
    last 48 hours on record count as not archived, so that the hourly runs take these hours again. Months on their way
    out of MySQL: what was verified is in the lake, and MySQL no longer holds it; what was not begins anew. Objects of
    the lake that were written after the snapshot, or are not as the books say, are unfinished until they are read.

    Args:
        lake: the lake's objects by address. root_uri: of that lake; receipts of another one are left as they are.
    """
    ledger, load, month, receipt = series_month.c, load_receipt.c, month_export.c, archive_receipt.c
    months = connection.execute(
        update(series_month).where(ledger.store == "mysql").values(state="partial", present=0, sources="")
    ).rowcount
    hourly = load.dataset == str(Dataset.OHLCV)
    newest = connection.scalar(select(func.max(load.window_end)).where(hourly))
    loads = 0
    if newest is not None:  # by the windows' own time: a run of later looks no further back than this
        lately = load.window_end > moment(ms_of(newest) - CATCH_UP_MS)
        recent = update(load_receipt).where(hourly, lately, load.archived_at.is_not(None))
        loads = connection.execute(recent.values(archived_at=None)).rowcount
    now = datetime.now(UTC).replace(tzinfo=None)
    gone = connection.execute(
        update(month_export)
        .where(month.state.in_([VERIFIED, RESTORED]))
        .values(state=DROPPED, dropped_at=func.coalesce(month.dropped_at, now), hold_until=None)
    ).rowcount
    anew = connection.execute(
        update(month_export).where(month.state == LEAVING).values(state=COPYING, mark="")
    ).rowcount
    held = {
        uri: (size, state)
        for uri, size, state in connection.execute(select(receipt.uri, receipt.bytes, receipt.state))
        if uri.startswith(f"{root_uri}/")
    }
    doubtful = [one.entry for uri, one in lake.items() if one.changed or held.get(uri, (None, ""))[0] != one.bytes]
    call_unfinished(connection, doubtful)
    vanished = [uri for uri, (size, state) in held.items() if uri not in lake and size and state != REWRITING]
    for piece in _pieces(vanished):
        connection.execute(update(archive_receipt).where(receipt.uri.in_(piece)).values(state=REWRITING))
    return Reopened(int(months), int(loads), int(gone) + int(anew), len(doubtful) + len(vanished))


def _pieces(uris: list[str]) -> Iterable[list[str]]:
    return (uris[at : at + 1_000] for at in range(0, len(uris), 1_000))
