"""How a streamer stands, as data: what it writes of itself into Redis, and what must be seen to. Pure.

`last.streamer.<shard>` holds it as JSON, compressed by zlib where that is worth it (`decode_status` takes both); it is
gone some seconds after the streamer is.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from gapless.errors import ValidationError
from streamer.operations.shards import Shard

KEY_PREFIX: Final = "last.streamer."
_COMPRESSED_FROM_BYTES = 16_384
_LONGEST_STATUS_BYTES = 64 << 20


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to the exchange.

    Attributes:
        route: below the market's URL; empty on spot. state: `connecting, open, retiring, waiting, ...`.
        streams: how many it carries. age_s: since it opened. silent_s: since its last message.
        reconnects: of its place, since the start; rollovers are not counted.
    """

    market: str
    route: str
    state: str
    streams: int
    age_s: float = 0.0
    messages: int = 0
    messages_per_s: float = 0.0
    bytes: int = 0
    silent_s: float = 0.0
    reconnects: int = 0


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream of the exchange.

    Attributes:
        exchange_ms: from the exchange's event to its receipt, on the exchange's clock, the mean; None: nothing yet.
        last_id: what made the newest entry one of a kind, see `Kind`. last_event_age_s: how old it is.
        holes_open: holes of ids that wait to be filled; filled, lost: ids brought again, and given up.
        silent: a watchdog holds that it ought to speak and does not.
    """

    kind: str
    market: str
    symbol: str
    interval: str = ""
    messages: int = 0
    rate_per_s: float = 0.0
    exchange_ms: float | None = None
    last_id: str = ""
    last_event_age_s: float | None = None
    holes_open: int = 0
    filled: int = 0
    lost: int = 0
    duplicates: int = 0
    refused: int = 0
    silent: bool = False


class BookStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An order book.

    Attributes:
        state: `empty, buffering, live, stale`. for_s: how long it has been in it.
        last_id: the update id it stands at. bids, asks: levels held.
        resyncs: how often it was built anew. crossed: how often its best bid met its best ask.
        differences: levels that a comparison with a snapshot found to differ.
    """

    market: str
    symbol: str
    state: str
    for_s: float = 0.0
    last_id: int = 0
    bids: int = 0
    asks: int = 0
    resyncs: int = 0
    crossed: int = 0
    differences: int = 0


class OutletStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The way into Redis.

    Attributes:
        waiting, waiting_bytes: entries that Redis has not acknowledged. oldest_s: how long the oldest has waited.
        p50_ms, p99_ms: from receipt to acknowledgement, over the last minute or so.
        shed: entries dropped or folded at the bound, by kind. resent: written twice after a cut.
        spooled, spool_bytes: entries that wait on disk.
        refused: entries that Redis will never take. damaged: pieces of the spool that could not be read.
        untold: events of `md.gaps` that neither memory nor disk had room for.
    """

    connected: bool
    acknowledged: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    shed: dict[str, int] = {}
    resent: int = 0
    spooled: int = 0
    spool_bytes: int = 0
    refused: int = 0
    damaged: int = 0
    untold: int = 0
    said: str = ""


class BarsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Closed bars on their way to MySQL.

    Attributes:
        stored: bars that MySQL took. waiting: in memory. spooled: on disk, while MySQL is away.
        lag_s: from the close of the newest bar stored to its being stored, the longest of the last batch.
        patrolled: bars that the patrol found missing and brought.
    """

    connected: bool
    stored: int = 0
    waiting: int = 0
    spooled: int = 0
    lag_s: float | None = None
    patrolled: int = 0
    said: str = ""


class MarketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A market's request budget and clock.

    Attributes:
        used, usable: weight of the running minute, and how much of it is ours to use; None: not known.
        halted_until_ms: until when the exchange answers nothing, 0: it does.
        offset_ms: how far this host's clock is ahead of the exchange's (negative: behind); None: not known.
    """

    market: str
    used: int | None = None
    usable: int | None = None
    halted_until_ms: int = 0
    offset_ms: float | None = None


class StreamerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A streamer as it is at `at_ms`, UTC ms of its own clock.

    Attributes:
        loop_lag_ms: the longest that the event loop was late in the last seconds.
        gaps: events told in `md.gaps` since the start, by reason.
        refused: payloads that were not what their stream carries, by reason.
        said: what it last told its log, newest last.
    """

    shard: str
    host: str
    pid: int
    version: str
    started_ms: int
    at_ms: int
    transport: str
    symbols: int
    channels: tuple[str, ...] = ()
    state: str = "running"
    lanes: tuple[LaneStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    books: tuple[BookStatus, ...] = ()
    outlet: OutletStatus | None = None
    bars: BarsStatus | None = None
    markets: tuple[MarketStatus, ...] = ()
    loop_lag_ms: float = 0.0
    gaps: dict[str, int] = {}
    refused: dict[str, int] = {}
    said: tuple[str, ...] = ()


def status_key(shard: Shard | str) -> str:
    """The key of a streamer's state: `last.streamer.0/4`."""
    return f"{KEY_PREFIX}{shard}"


def encode_status(status: StreamerStatus) -> bytes:
    """As it stands in Redis."""
    text = msgspec.json.encode(status)
    return text if len(text) < _COMPRESSED_FROM_BYTES else zlib.compress(text, 1)


def decode_status(value: bytes) -> StreamerStatus:
    """What a streamer wrote.

    Raises:
        ValidationError: it is no such status; a streamer of another version may have written it.
    """
    try:
        if not value.startswith(b"{"):
            unpacking = zlib.decompressobj()
            value = unpacking.decompress(value, _LONGEST_STATUS_BYTES)
        return msgspec.json.decode(value, type=StreamerStatus)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValidationError(f"a streamer's state in Redis cannot be read ({error}): is it of this version?") from None


def problems(status: StreamerStatus) -> list[str]:
    """What must be seen to, in sentences, the worst first; empty: all is well."""
    found: list[str] = []
    outlet, bars = status.outlet, status.bars
    if outlet is None or not outlet.connected:
        found.append("Redis does not take entries" + (f": {outlet.said}" if outlet and outlet.said else ""))
    found += [f"the exchange refuses {m.market} requests" for m in status.markets if m.halted_until_ms > status.at_ms]
    found += _uncarried(status)
    found += _named(
        "book is not live", "books are not live", [book.symbol for book in status.books if book.state != "live"]
    )
    found += _named(
        "stream is silent", "streams are silent", [f"{s.kind} {s.symbol}" for s in status.streams if s.silent]
    )
    if outlet is not None and outlet.spool_bytes:
        found.append(f"{outlet.spooled} entries ({outlet.spool_bytes / 2**20:.1f} MB) wait on disk for Redis")
    if outlet is not None:
        found += [
            what.format(count)
            for what, count in (
                ("{} entries were refused by Redis for good: the log names the Stream", outlet.refused),
                ("{} pieces of the spool could not be read: they are kept beside it as .bad", outlet.damaged),
                ("{} events of md.gaps were let go: neither memory nor disk had room", outlet.untold),
            )
            if count
        ]
    if bars is not None and bars.spooled:
        found.append(f"{bars.spooled} closed bars wait on disk for MySQL" + (f": {bars.said}" if bars.said else ""))
    if not status.streams:
        found.append("nothing is streamed: no instrument of the list is this shard's, or none trades")
    return found


def _uncarried(status: StreamerStatus) -> list[str]:
    """Streams without a connection. One that is being made while another carries its streams is no problem."""
    wanted = Counter(stream.market for stream in status.streams)
    for lane in status.lanes:
        if lane.state in ("open", "retiring"):
            wanted[lane.market] -= lane.streams
    return [
        f"{missing} {market} {'stream is' if missing == 1 else 'streams are'} on no open connection"
        for market, missing in wanted.items()
        if missing > 0
    ]


def _named(one: str, several: str, names: Sequence[str], most: int = 5) -> list[str]:
    if not names:
        return []
    what = one if len(names) == 1 else several
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} {what}: {', '.join(names[:most])}{more}"]
