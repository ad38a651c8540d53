"""The live Streams: their keys, the fields of an entry, the events of `md.gaps`. Writers and readers import this.

`docs/redis.md` is the same for readers in other languages. Everything on the wire is a string; a price stays in the
exchange's own JSON, letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from gapless.errors import ValidationError

HOUR_MS = 3_600_000
GAPS_KEY = "md.gaps"
_PREFIX = "md."
_EXCHANGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,15}")
_STREAM_ID = re.compile(r"\d{1,20}-\d{1,20}")
_NUMBER = re.compile(r"-?\d{1,19}")
_LONGEST_SYMBOL = 32
_LONGEST_IDENTITY = 200
_LATEST_MS = 4_102_444_800_000  # the year 2100: what claims to be later is no time in milliseconds


class Kind(StrEnum):
    """What a Stream carries. `gaps` is the one Stream `md.gaps`; of the others each instrument has its own.

    What makes an entry one of a kind (its identity; a resend has the same):
        trades: the aggregate trade's id.
        depth: the diff's last update id (`u`).
        klines: `<interval>:<open ms>:1` of a closed bar, `<interval>:<open ms>:0:<event ms>` of an open one.
        book_ticker: the update id (`u`).
        mark_price: the event time in ms.
        liquidations: `<trade ms>:<side>:<price>:<quantity>`; the exchange numbers none.
    """

    TRADES = "trades"
    DEPTH = "depth"
    KLINES = "klines"
    BOOK_TICKER = "book_ticker"
    MARK_PRICE = "mark_price"
    LIQUIDATIONS = "liquidations"
    GAPS = "gaps"


MARKET_KINDS = tuple(kind for kind in Kind if kind is not Kind.GAPS)
"""Those with a Stream for each instrument."""


class GapReason(StrEnum):
    """Why entries are missing from a Stream, as far as this house tells it; readers must expect others."""

    TRIMMED = "trimmed"  # the Stream's bound removed entries that the archive had not taken
    RESTARTED = "restarted"  # Redis came back without what it had held
    GARBLED = "garbled"  # an entry that is none; kept beside the spool as it was
    STARTED = "started"  # the writer began: nothing of before is its
    STOPPED = "stopped"  # the writer ended in order: all it had is written
    RECONNECT = "reconnect"  # the writer's connection to the exchange was cut
    ROLLOVER = "rollover"  # a connection was replaced by another while both ran: nothing is missing
    SILENT = "silent"  # a stream that ought to speak did not, and was asked for again
    HOLE = "hole"  # ids of the exchange are missing: what was sent was not received
    RESYNC = "resync"  # a book was given up and is built anew
    REDIS = "redis"  # Redis was away, or the writer's connection to it was cut
    SHED = "shed"  # the writer's own bound was reached


class StreamName(NamedTuple):
    """What a Stream's key says."""

    kind: Kind
    exchange: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a Stream.

    Attributes:
        stream_id: Redis' own id, `<ms>-<sequence>`.
        event_ms: the exchange's event time, UTC ms.
        received_ns: when the writer had it from the exchange, UTC ns of the writer's clock.
        identity: what makes it one of a kind, see `Kind`.
        payload: the exchange's JSON object, verbatim.
    """

    kind: Kind
    exchange: str
    symbol: str
    stream_id: str
    event_ms: int
    received_ns: int
    identity: str
    payload: bytes

    @property
    def hour_ms(self) -> int:
        """The start of the UTC hour of its event."""
        return self.event_ms // HOUR_MS * HOUR_MS


class GapEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are missing from a Stream, as told in `md.gaps`.

    Attributes:
        reason: a `GapReason`, or another word of the writer's.
        from_id, to_id: Stream ids; what is missing lies after the first and before the second. Empty: not known.
        first, last: the exchange's ids of the first and the last that is missing (trade ids of trades, update ids of
            depth, open times in ms of klines); empty where it numbers none, or nothing is missing.
        count: how many entries; 0: a boundary at which nothing is missing; -1: nobody can know.
        at_ms: when it was noticed, UTC ms.
        repaired: whether what is missing was brought again, by any way. A hole is told when it is noticed and again
            when it is filled or given up; of events with the same `first` and `last` the later one counts.
        detail: a sentence for people.
    """

    kind: Kind
    exchange: str
    symbol: str
    reason: str
    from_id: str = ""
    to_id: str = ""
    count: int = -1
    at_ms: int
    repaired: bool = False
    detail: str = ""
    first: str = ""
    last: str = ""


def stream_key(kind: Kind, exchange: str, symbol: str) -> str:
    """The key of a Stream: `md.trades.binance.BTC/USDT:USDT`.

    Raises:
        ValidationError: such a name would not be read back.
    """
    key = f"{_PREFIX}{kind}.{exchange}.{symbol}"
    parse_stream_key(key)
    return key


def last_key(kind: Kind, exchange: str, symbol: str, interval: str = "") -> str:
    """The key of a Stream's newest entry: `last.trades.binance.BTC/USDT`; of klines `last.klines.1m.binance...`."""
    return f"last.{kind}.{interval}.{exchange}.{symbol}" if interval else f"last.{kind}.{exchange}.{symbol}"


def book_key(form: str, exchange: str, symbol: str) -> str:
    """`book.top.binance.BTC/USDT`: the best levels; `book.full...`: all; `book.want...`: set by who wants all."""
    return f"book.{form}.{exchange}.{symbol}"


def parse_stream_key(key: str) -> StreamName:
    """What a key says; `md.gaps`, which is of no instrument, is not one of these.

    Raises:
        ValidationError: it is not the key of a Stream of market data.
    """
    parts = key.split(".", 3)
    if len(parts) == 4 and parts[0] == "md" and parts[1] in MARKET_KINDS:
        _, kind, exchange, symbol = parts
        if _EXCHANGE.fullmatch(exchange) and 0 < len(symbol) <= _LONGEST_SYMBOL and symbol.isprintable():
            return StreamName(Kind(kind), exchange, symbol)
    raise ValidationError(f"{key!r} is no Stream of market data: md.<kind>.<exchange>.<symbol>, see docs/redis.md")


def fields_of(entry: Entry) -> dict[str, str | bytes]:
    """The fields of an entry on the wire: `e` event ms, `r` received ns, `i` identity, `d` the payload."""
    return {"e": str(entry.event_ms), "r": str(entry.received_ns), "i": entry.identity, "d": entry.payload}


def entry_of(key: str, stream_id: str, fields: Mapping[bytes, bytes]) -> Entry:
    """An entry as Redis gave it. An event of `md.gaps` becomes an entry too, its fields as a JSON object.

    Raises:
        ValidationError: a field is missing or garbled; names the Stream and the id.
    """
    where = f"entry {stream_id} of {key}"
    if not _STREAM_ID.fullmatch(stream_id):
        raise ValidationError(f"{where}: this is no Stream id")
    if key == GAPS_KEY:
        return _of_gap(gap_of(stream_id, fields), stream_id)
    name = parse_stream_key(key)
    event_ms = _number(fields, b"e", where)
    if not 0 <= event_ms < _LATEST_MS:
        raise ValidationError(f"{where}: event time {event_ms} is no UTC milliseconds")
    received_ns = _number(fields, b"r", where)
    identity = _text(fields, b"i", where)
    if not 0 < len(identity) <= _LONGEST_IDENTITY:
        raise ValidationError(f"{where}: identity of {len(identity)} characters; 1 to {_LONGEST_IDENTITY} are one")
    payload = _field(fields, b"d", where)
    if not (payload.startswith(b"{") and payload.endswith(b"}")):
        raise ValidationError(f"{where}: the payload is no JSON object: {payload[:60]!r}")
    return Entry(name.kind, name.exchange, name.symbol, stream_id, event_ms, received_ns, identity, payload)


def gap_fields(gap: GapEvent) -> dict[str, str]:
    """The fields of an event of `md.gaps` on the wire, each by its own name; `repaired` is `0` or `1`."""
    return {
        name: str(int(value) if isinstance(value, bool) else value)
        for name, value in msgspec.structs.asdict(gap).items()
    }


def gap_of(stream_id: str, fields: Mapping[bytes, bytes]) -> GapEvent:
    """An event of `md.gaps` as Redis gave it.

    Raises:
        ValidationError: a field is missing or garbled; names the Stream and the id.
    """
    where = f"entry {stream_id} of {GAPS_KEY}"
    kind, exchange = _text(fields, b"kind", where), _text(fields, b"exchange", where)
    if kind not in MARKET_KINDS or not _EXCHANGE.fullmatch(exchange):
        raise ValidationError(f"{where}: kind {kind!r} of exchange {exchange!r} is none of ours")
    at_ms = _number(fields, b"at_ms", where)
    if not 0 <= at_ms < _LATEST_MS:
        raise ValidationError(f"{where}: at_ms {at_ms} is no UTC milliseconds")
    return GapEvent(
        kind=Kind(kind),
        exchange=exchange,
        symbol=_text(fields, b"symbol", where),
        reason=_text(fields, b"reason", where),
        from_id=_text(fields, b"from_id", where),
        to_id=_text(fields, b"to_id", where),
        count=_number(fields, b"count", where),
        at_ms=at_ms,
        repaired=_text(fields, b"repaired", where) == "1",
        detail=_text(fields, b"detail", where),
        first=_text(fields, b"first", where) if b"first" in fields else "",
        last=_text(fields, b"last", where) if b"last" in fields else "",
    )


def _of_gap(gap: GapEvent, stream_id: str) -> Entry:
    payload = msgspec.json.encode(gap)
    ids = f"{gap.first}:{gap.last}:{gap.from_id}:{gap.to_id}"
    identity = f"{gap.kind}:{gap.reason}:{ids}:{gap.at_ms}:{int(gap.repaired)}"
    return Entry(Kind.GAPS, gap.exchange, gap.symbol, stream_id, gap.at_ms, gap.at_ms * 1_000_000, identity, payload)


def _field(fields: Mapping[bytes, bytes], name: bytes, where: str) -> bytes:
    try:
        return fields[name]
    except KeyError:
        raise ValidationError(f"{where}: field {name.decode()!r} is missing; see docs/redis.md") from None


def _text(fields: Mapping[bytes, bytes], name: bytes, where: str) -> str:
    value = _field(fields, name, where)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValidationError(f"{where}: field {name.decode()!r} is no UTF-8: {value[:60]!r}") from None


def _number(fields: Mapping[bytes, bytes], name: bytes, where: str) -> int:
    value = _text(fields, name, where)
    if not _NUMBER.fullmatch(value) or not value.isascii():
        raise ValidationError(f"{where}: field {name.decode()!r} is no whole number: {value[:60]!r}")
    return int(value)
