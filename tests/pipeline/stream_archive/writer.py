"""A writer of the live Streams for the tests: what the streamer will say, in the words of `gapless.domain.live`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import Redis

from gapless.domain.live import Entry, Kind, fields_of, stream_key

BTC = "BTC/USDT:USDT"
EVENT_MS = 1_763_654_400_000


class Writer:
    """Adds numbered entries to Streams, in one transaction a call."""

    def __init__(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url)

    def write(
        self, numbers: Iterable[int], kind: Kind = Kind.TRADES, symbol: str = BTC, *, size: int = 40, **bounds: Any
    ) -> list[str]:
        """Add an entry for each number; the ids that Redis gave. `bounds`: `id`, `maxlen`, `minid` of XADD."""
        pipe = self.redis.pipeline(transaction=False)
        for number in numbers:
            payload = b'{"a":%d,"p":"%d.10","x":"%s"}' % (number, number, b"x" * size)
            entry = Entry(kind, "binance", symbol, "", EVENT_MS + number, number, str(number), payload)
            pipe.xadd(stream_key(kind, "binance", symbol), fields_of(entry), **bounds)
        return [each.decode() for each in pipe.execute()]

    def pending(self, kind: Kind = Kind.TRADES, symbol: str = BTC) -> int:
        """How many entries of a Stream are handed out and not acknowledged."""
        return int(self.redis.xpending(stream_key(kind, "binance", symbol), "archive")["pending"])
