"""What the outlet tells in `md.gaps`: boundaries, losses of Redis, and what was dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import time

from gapless.domain.live import GapEvent, GapReason, Kind
from gapless.storage.live.fence import Loss
from streamer.outlet.backlog import Dropped
from streamer.outlet.streams import OutStream

ALL_SYMBOLS = "*"
"""The symbol of an event that is about all of a kind."""


@dataclass(slots=True)
class _Row:
    first: bytes
    last: bytes
    count: int = 0


class Telling:
    """Makes events.

    Args:
        tell: writes one.
    """

    def __init__(self, tell: Callable[[GapEvent], None]) -> None:
        self._tell_event = tell
        self._dropped: dict[OutStream, _Row] = {}

    def dropped(self, out: OutStream, identity: bytes) -> None:
        """An entry was dropped; told with those that follow by `tell_dropped`."""
        row = self._dropped.setdefault(out, _Row(identity, identity))
        row.last = identity
        row.count += 1

    def tell_dropped(self) -> list[tuple[OutStream, str, str]]:
        """Tell what was dropped since the last call. Returns the Streams and the exchange's ids, first and last."""
        rows, self._dropped = self._dropped, {}
        told = []
        for out, row in rows.items():
            first, last = _ids(out, (row.first, row.last))
            detail = "neither memory nor disk had room while Redis was away or slow"
            self._tell(out, GapReason.SHED, first, last, row.count, detail=detail)
            told.append((out, first, last))
        return told

    def dropped_diffs(self, dropped: Dropped) -> None:
        """Diffs of a book were dropped."""
        detail = "diffs dropped: more waited for Redis than the bound allows"
        self._tell(dropped.out, GapReason.SHED, dropped.first, dropped.last, dropped.count, detail=detail)

    def overtaken(self, out: OutStream, identity: bytes) -> None:
        """A diff was refused while later ones were taken."""
        self._tell(out, GapReason.SHED, "", identity.decode(), 1, detail="refused while Redis had no room")

    def losses(self, losses: Sequence[Loss]) -> None:
        """Redis was started anew and lacks what it had acknowledged."""
        for loss in losses:
            out, again = loss.target, loss.brought_again
            if isinstance(out, OutStream) and out.exchange:
                detail = f"Redis was started anew; {len(again)} newest entries were sent again"
                if loss.whole:
                    self._tell(out, GapReason.RESTARTED, *_ids(out, again), len(again), detail=detail, repaired=True)
                    continue
                detail += ", what it held before them is gone"
                self._tell(out, GapReason.RESTARTED, "", _before(out, again), -1, detail=detail)

    def reconnected(self, streams: Iterable[OutStream]) -> None:
        """The connection to Redis was cut and is there again: a boundary of all Streams, told once a kind."""
        for kind, exchange in sorted({(out.kind, out.exchange) for out in streams if out.exchange}):
            out = OutStream(kind, exchange, ALL_SYMBOLS)
            detail = "the connection to Redis was cut; what was on its way was looked for and sent again"
            self._tell(out, GapReason.REDIS, "", "", 0, detail=detail, repaired=True)

    def _tell(
        self,
        out: OutStream,
        reason: GapReason,
        first: str,
        last: str,
        count: int,
        *,
        detail: str,
        repaired: bool = False,
    ) -> None:
        event = GapEvent(
            kind=out.kind,
            exchange=out.exchange,
            symbol=out.symbol,
            reason=reason,
            first=first,
            last=last,
            count=count,
            at_ms=int(time() * 1000),
            repaired=repaired,
            detail=detail,
        )
        self._tell_event(event)


def _before(out: OutStream, identities: Sequence[bytes]) -> str:
    """The exchange's id of the last before these, where ids leave nothing out."""
    return str(int(identities[0]) - 1) if identities and out.kind is Kind.TRADES else ""


def _ids(out: OutStream, identities: Sequence[bytes]) -> tuple[str, str]:
    """The exchange's ids of the first and the last, where it numbers them."""
    if not identities or out.kind in (Kind.LIQUIDATIONS, Kind.GAPS):
        return "", ""
    first, last = identities[0].decode(), identities[-1].decode()
    return (first.split(":")[1], last.split(":")[1]) if out.kind is Kind.KLINES else (first, last)
