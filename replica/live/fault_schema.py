"""The live fault script's schema: like `replica.fault_schema`, for streams: `seed` and `rules`, each a `match` (all
conditions must hold) and an `action` (exactly one). `docs/replica.md` lists every key. Unknown keys are refused.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.fault_schema import Count, Positive, Share, Texts, Time, at_ms, listed
from replica.faults import read_script

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
HandshakeStatus = Annotated[int, Meta(ge=400, le=599)]
CloseCode = Annotated[int, Meta(ge=1000, le=4999)]
CutHow = Literal["reset", "close", "half_open"]
Scope = Literal["message", "handshake", "request"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the script: unknown keys are errors."""


class LiveMatch(_Strict, frozen=True, rename={"from_": "from"}):
    """Which messages, handshakes or requests a rule meets. The first group must hold; the second counts those for which
    it does.

    Attributes:
        market, symbol, kind: one or several; raw symbols; kinds as in the Streams' names (`trades`, `depth`, ...).
        stream: globs over stream names, `*@depth*`. Of handshakes and requests one of the streams they name.
        connection: by their numbers, counted from 1 in each market in the order in which they opened.
        each: `message` decides once for all connections (what is dropped reaches nobody), `connection` for each alone.
        from_, until: half-open span of exchange time, of messages that of the event.
        after, nth, every, probability, times: as in the other fault script.
    """

    market: Market | list[Market] | None = None
    stream: Texts | None = None
    symbol: Texts | None = None
    kind: Texts | None = None
    connection: Positive | list[Positive] | None = None
    each: Literal["message", "connection"] = "message"
    from_: Time | None = None
    until: Time | None = None
    after: Count = 0
    nth: Positive | list[Positive] | None = None
    every: Positive | None = None
    probability: Share = 1.0
    times: Positive | None = None

    def __post_init__(self) -> None:
        try:
            self.span_ms()
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def span_ms(self) -> tuple[int | None, int | None]:
        """`from` and `until` in milliseconds."""
        return at_ms(self.from_), at_ms(self.until)

    def meets_stream(self, market: Market, stream: str, symbol: str, kind: str) -> bool:
        """Whether a stream's messages concern the rule, as far as that can be said once for all of them."""
        if self.market is not None and market not in listed(self.market):
            return False
        if self.symbol is not None and symbol not in listed(self.symbol):
            return False
        if self.kind is not None and kind not in listed(self.kind):
            return False
        return self.stream is None or any(fnmatchcase(stream, glob) for glob in listed(self.stream))

    def meets_names(self, market: Market, streams: list[str]) -> bool:
        """Whether a handshake or a request that names these streams concerns the rule."""
        if self.market is not None and market not in listed(self.market):
            return False
        if self.stream is None:
            return True
        return any(fnmatchcase(stream, glob) for stream in streams for glob in listed(self.stream))

    def meets_connection(self, number: int) -> bool:
        """Whether the rule concerns a connection."""
        return self.connection is None or number in listed(self.connection)


class Silence(_Strict, frozen=True):
    """A subscription that is acknowledged and sends nothing: for so long, or until the stream is subscribed anew."""

    s: Seconds | None = None


class Stall(_Strict, frozen=True):
    """A connection on which nothing is sent at all, not even pings: for so long, or for ever. `keep`: what it missed
    follows, up to the bound of unsent bytes; otherwise it is lost."""

    s: Seconds | None = None
    keep: bool = False


class Cut(_Strict, frozen=True):
    """A connection's end: a TCP reset, a close frame with a code, or half-open: neither reads nor sends, stays open."""

    how: CutHow = "reset"
    code: CloseCode = 1001
    reason: str = ""


class Refuse(_Strict, frozen=True):
    """A handshake answered with an HTTP status."""

    status: HandshakeStatus = 429
    retry_after: Count | None = None


class Shutdown(_Strict, frozen=True):
    """`serverShutdown`, and the end of the connection after so long."""

    after_s: Seconds = 10.0


class Wrong(_Strict, frozen=True):
    """Another payload: fields taken out, set or added (a dot goes into an object: `k.c`), or no JSON at all."""

    remove: Texts | None = None
    set: dict[str, Any] = {}
    garbage: bool | str = False


class Reject(_Strict, frozen=True):
    """A request answered with an error (wrapped, as on the wire), or not at all when `code` is absent."""

    code: int | None = None
    msg: str = "Invalid request"


class LiveAction(_Strict, frozen=True):
    """Exactly one of these. Times are real, only `skew_ms` changes what the exchange's clock says.

    Attributes:
        drop: the message is never sent.
        duplicate: it is sent so many times more.
        reorder: it is sent after the next so many of its stream.
        delay_ms: it is sent later; those of its stream that follow wait behind it.
        wrong: its payload is another.
        skew_ms: its event time is off.
        silence, stall, cut, shutdown: what befalls the connection that would be sent it; the message is not sent there.
        refuse, life_s: what befalls a handshake: refused, or a connection that ends by itself after so long.
        reject: what befalls a request (SUBSCRIBE and the like).
    """

    drop: bool = False
    duplicate: Annotated[int, Meta(ge=1, le=100)] | bool = False
    reorder: Annotated[int, Meta(ge=1, le=1000)] | bool = False
    delay_ms: Milliseconds | None = None
    wrong: Wrong | None = None
    skew_ms: int | None = None
    silence: Silence | bool = False
    stall: Stall | bool = False
    cut: Cut | CutHow | bool = False
    shutdown: Shutdown | bool = False
    refuse: Refuse | HandshakeStatus | None = None
    life_s: Seconds | None = None
    reject: Reject | bool = False

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            names = ", ".join(self.__struct_fields__)
            raise ValueError(f"an action is exactly one of {names}" + (f", not {' and '.join(given)}" if given else ""))

    @property
    def name(self) -> str:
        """Which one it is."""
        return self._given()[0]

    @property
    def scope(self) -> Scope:
        """What it befalls."""
        if self.refuse is not None or self.life_s is not None:
            return "handshake"
        return "request" if self.reject else "message"

    @property
    def of_connection(self) -> bool:
        """Whether it befalls the connection that would be sent a message, rather than the message."""
        return bool(self.silence or self.stall or self.cut or self.shutdown)

    def _given(self) -> list[str]:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return [name for name, value in values.items() if value is not None and value is not False]


class LiveRule(_Strict, frozen=True):
    """A condition and what happens under it."""

    action: LiveAction
    match: LiveMatch = LiveMatch()
    name: str = ""

    @property
    def by_connection(self) -> bool:
        """Whether it is decided for each connection alone."""
        match = self.match
        return self.action.of_connection or match.connection is not None or match.each == "connection"


class LiveScript(_Strict, frozen=True):
    """A whole live fault script."""

    rules: list[LiveRule] = []
    seed: int = 0


def parse_live_script(content: Any, where: str) -> LiveScript:
    """A script from decoded YAML or JSON.

    Raises:
        ConfigError: it breaks the schema; the message names `where` and the place.
    """
    try:
        return msgspec.convert({} if content is None else content, LiveScript)
    except msgspec.ValidationError as error:
        raise ConfigError(f"live fault script {where}: {error}") from None


def load_live_script(path: Path) -> LiveScript:
    """What a script file has under `live`.

    Raises:
        ConfigError: it cannot be read, is no YAML or JSON, or breaks the schema.
    """
    content = read_script(path)
    return parse_live_script(content.get("live") if isinstance(content, dict) else None, f"{path} under live")
