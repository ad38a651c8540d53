"""What the exchange's streams say, as types: one decoder for all that name their event, told apart by it.

Prices and quantities stay the exchange's own strings. Unknown fields are let go; a known one that is missing or of
another type is an error of decoding (`msgspec.DecodeError`), which the caller counts and quarantines. Payloads without
an event (spot's book ticker) are known by the name of their stream alone. Source: reference sections 7 and 8.
"""

from __future__ import annotations

import msgspec

Levels = list[tuple[str, str]]


class AggTrade(msgspec.Struct, tag_field="e", tag="aggTrade", gc=False):
    """`a` is the id: contiguous for a symbol."""

    E: int
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the exchange's name
    T: int
    m: bool
    s: str


class Depth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    """A diff of a book: updates `U` to `u`; `pu` (USD-M alone) is the `u` before it. Quantities are absolute."""

    E: int
    s: str
    U: int
    u: int
    b: Levels
    a: Levels
    pu: int | None = None
    T: int | None = None


class RawDepth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    """A `Depth` whose levels are the exchange's JSON still, to be read by `decode_levels` when somebody needs them."""

    E: int
    U: int
    u: int
    b: msgspec.Raw
    a: msgspec.Raw
    pu: int | None = None


class KlineBar(msgspec.Struct, gc=False):
    """A bar as it stands; `x` says that it is closed."""

    t: int
    T: int
    i: str
    f: int
    L: int
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the exchange's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str


class Kline(msgspec.Struct, tag_field="e", tag="kline", gc=False):
    E: int
    s: str
    k: KlineBar


class MarkPrice(msgspec.Struct, tag_field="e", tag="markPriceUpdate", gc=False):
    """`r` is the running estimate of the funding rate, `T` the next funding time (no event time)."""

    E: int
    s: str
    p: str
    i: str
    P: str
    r: str
    T: int


class Liquidation(msgspec.Struct, gc=False):
    s: str
    S: str
    o: str
    f: str
    q: str
    p: str
    ap: str
    X: str
    l: str  # noqa: E741 - the exchange's name
    z: str
    T: int


class ForceOrder(msgspec.Struct, tag_field="e", tag="forceOrder", gc=False):
    """A sample: at most one a symbol and second, so totals are a lower bound."""

    E: int
    o: Liquidation


class BookTicker(msgspec.Struct, tag_field="e", tag="bookTicker", gc=False):
    """USD-M's; spot's is `SpotBookTicker`."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    E: int
    T: int


class ServerShutdown(msgspec.Struct, tag_field="e", tag="serverShutdown", gc=False):
    """The server will close this connection: open another one at once."""

    E: int


class SpotBookTicker(msgspec.Struct, gc=False):
    """Spot's book ticker names neither event nor time."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class DepthHead(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    """A diff without its levels, for who passes it on unread."""

    E: int
    U: int
    u: int
    pu: int | None = None


Message = AggTrade | RawDepth | Kline | MarkPrice | ForceOrder | BookTicker | ServerShutdown

decode_message = msgspec.json.Decoder(Message).decode
"""Any payload that names its event. Raises `msgspec.DecodeError`."""

decode_depth = msgspec.json.Decoder(Depth).decode
decode_levels = msgspec.json.Decoder(Levels).decode
decode_spot_ticker = msgspec.json.Decoder(SpotBookTicker).decode
decode_depth_head = msgspec.json.Decoder(DepthHead).decode


class _Envelope(msgspec.Struct, gc=False):
    stream: str
    data: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def open_envelope(frame: bytes) -> tuple[str, bytes]:
    """Stream name and payload of a combined frame in any spelling; the usual one is cut open faster by its reader.

    Raises:
        msgspec.DecodeError: it is no envelope: the answer to a request, or garbage.
    """
    envelope = _decode_envelope(frame)
    return envelope.stream, bytes(envelope.data)
