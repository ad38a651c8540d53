"""The requests that a connection may be sent, and their answers. Pure.

The same on both markets (reference section 7): `{"method": M, "params": [...], "id": n}`, answered by
`{"result": null, "id": n}`, or by an error in either of two spellings. A `null` proves nothing: names that do not
exist, and names of the other route, are acknowledged too and stay silent for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gapless.domain.instrument import Market

MESSAGES_A_SECOND: Mapping[Market, int] = {Market.SPOT: 5, Market.UM: 10}
"""What the exchange allows a connection: requests, pings and pongs together. More: it is cut; repeatedly: banned."""

SHUTDOWN = "!serverShutdown"
"""The stream's name in the envelope when the server announces (spot alone) that it will close the connection."""

Method = Literal["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS"]


class Answer(msgspec.Struct, frozen=True):
    """An answer to a request.

    Attributes:
        id: of the request; None where the exchange could not read it.
        error: the exchange's words with its code, empty when it has none to complain of.
        streams: of `LIST_SUBSCRIPTIONS`.
    """

    id: int | None
    error: str = ""
    streams: tuple[str, ...] = ()


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Wire(msgspec.Struct):
    id: int | str | None = None
    result: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    error: _Error | msgspec.UnsetType = msgspec.UNSET
    code: int | msgspec.UnsetType = msgspec.UNSET
    msg: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode


def request(method: Method, number: int, names: Sequence[str] = ()) -> str:
    """`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}`."""
    what: dict[str, object] = {"method": method}
    if names:
        what["params"] = list(names)
    return _encode({**what, "id": number}).decode()


def read_answer(frame: bytes) -> Answer | None:
    """An answer of the exchange; None when the frame is none.

    >>> read_answer(b'{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":3}').error
    'Invalid request: invalid stream (code 2)'
    """
    try:
        said = _decode(frame)
    except msgspec.DecodeError:
        return None
    number = said.id if isinstance(said.id, int) else None
    if said.error is not msgspec.UNSET:
        return Answer(number, _words(said.error.code, said.error.msg))
    if said.code is not msgspec.UNSET:
        return Answer(number, _words(said.code, said.msg))
    if said.result is msgspec.UNSET or said.id is None:
        return None
    return Answer(number, "", tuple(said.result or ()))


def _words(code: int, text: str) -> str:
    return f"{text or 'no reason given'} (code {code})"
