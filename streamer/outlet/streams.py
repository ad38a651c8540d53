"""A Stream of ours as the outlet writes it, and how its entries may be shed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gapless.domain.live import GAPS_KEY, GapEvent, Kind, gap_fields, stream_key
from gapless.storage.live.resp import Target, pack


class Way(Enum):
    """What may be done with entries when there is no room.

    Attributes:
        LOSSLESS: nothing but to keep them on disk.
        CONFLATE: the newest replaces the others.
        COALESCE: diffs are merged into one, and dropped if that does not help.
        BARS: closed ones are lossless, of open ones the newest of an interval stays.
    """

    LOSSLESS = "lossless"
    CONFLATE = "conflate"
    COALESCE = "coalesce"
    BARS = "bars"


_WAYS = {
    Kind.TRADES: Way.LOSSLESS,
    Kind.LIQUIDATIONS: Way.LOSSLESS,
    Kind.GAPS: Way.LOSSLESS,
    Kind.BOOK_TICKER: Way.CONFLATE,
    Kind.MARK_PRICE: Way.CONFLATE,
    Kind.DEPTH: Way.COALESCE,
    Kind.KLINES: Way.BARS,
}


class OutStream(Target):
    """A Stream; made once, by `Outlet.stream`."""

    __slots__ = ("exchange", "kind", "symbol", "way")

    def __init__(self, kind: Kind, exchange: str, symbol: str) -> None:
        gaps = kind is Kind.GAPS
        super().__init__(
            GAPS_KEY if gaps else stream_key(kind, exchange, symbol),
            may_be_late=_WAYS[kind] in (Way.LOSSLESS, Way.BARS),
            shared=gaps,
            identify=_gap_identity if gaps else None,
        )
        self.kind, self.exchange, self.symbol = kind, exchange, symbol
        self.way = _WAYS[kind]


def is_lossless(out: OutStream, identity: bytes) -> bool:
    """Whether this entry must not be shed."""
    return out.way is Way.LOSSLESS or (out.way is Way.BARS and is_closed_bar(identity))


def is_closed_bar(identity: bytes) -> bool:
    """Whether this is the identity of a closed bar: `1m:1763654340000:1`."""
    return identity.endswith(b":1") and identity.count(b":") == 2


def pack_gap(target: Target, gap: GapEvent) -> tuple[bytes, bytes]:
    """Identity and command of an event of `md.gaps`."""
    fields = {name.encode(): value.encode() for name, value in gap_fields(gap).items()}
    words = [word for pair in fields.items() for word in pair]
    return _gap_identity(fields), pack(b"XADD", target.key, b"*", *words)


def _gap_identity(fields: Mapping[bytes, bytes]) -> bytes:
    """All that an event says: it has no identity of its own."""
    return b"\x00".join(b"%b=%b" % pair for pair in sorted(fields.items()))
