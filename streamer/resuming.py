"""What a process before this one wrote last, so that this one goes on after it and writes nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from gapless.domain.live import GAPS_KEY, Entry, GapEvent, Kind, entry_of, gap_of, stream_key
from gapless.errors import StorageError, ValidationError
from gapless.exchanges.binance.streams.names import StreamSpec

_TAIL = {
    Kind.KLINES: 64,
    Kind.MARK_PRICE: 32,
    Kind.LIQUIDATIONS: 256,
    Kind.TRADES: 64,
    Kind.DEPTH: 1,
    Kind.BOOK_TICKER: 1,
}
_FURTHER = 4_096
"""Trades that REST brought are written when they come, out of order: where the tail holds nothing else, further back
lies what came by the stream."""
_A_CALL = 200
_GAPS = 10_000


@dataclass(frozen=True, slots=True)
class Tails:
    """The newest entries of Streams, oldest first, by key; and what `md.gaps` holds, oldest first."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    gaps: Sequence[GapEvent] = ()


async def read_tails(redis: Any, specs: Iterable[StreamSpec], *, gaps: bool) -> Tails:
    """The tails of the Streams that these feed.

    Raises:
        StorageError: Redis did not answer.
    """
    keys = {stream_key(spec.kind, "binance", spec.symbol): spec.kind for spec in specs}
    found = Tails()
    names = list(keys)
    try:
        for start in range(0, len(names), _A_CALL):
            some = names[start : start + _A_CALL]
            pipe = redis.pipeline(transaction=False)
            for key in some:
                pipe.xrevrange(key, count=_TAIL[keys[key]])
            for key, rows in zip(some, await pipe.execute(), strict=True):
                found.entries[key] = _entries(key, rows)
                if keys[key] is Kind.TRADES and rows and not any(b'"e":' in fields[b"d"] for _, fields in rows):
                    found.entries[key] = _entries(key, await redis.xrevrange(key, count=_FURTHER))
        if gaps:
            events = [_gap(id, fields) for id, fields in reversed(await redis.xrevrange(GAPS_KEY, count=_GAPS))]
            return Tails(found.entries, [event for event in events if event is not None])
    except (RedisError, OSError) as error:
        raise StorageError(f"Redis: the tails of the Streams cannot be read: {error}") from None
    return found


def _entries(key: str, rows: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    found = []
    for id, fields in rows:
        try:
            found.append(entry_of(key, id.decode(), fields))
        except ValidationError:
            continue  # whoever wrote it, it was not us: the archive tells it
    return found[::-1]


def _gap(id: bytes, fields: dict[bytes, bytes]) -> GapEvent | None:
    try:
        return gap_of(id.decode(), fields)
    except ValidationError:
        return None
