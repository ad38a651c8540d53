"""What a WebSocket connection is to the rest of the sidecar, whichever library makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gapless.errors import ExchangeError

NO_CODE = 1005
"""The close frame named no code (RFC 6455)."""
NO_CLOSE_FRAME = 1006
"""The connection was cut: there was no close frame of the peer's."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection ended.

    Attributes:
        code: of the peer's close frame; `NO_CODE`, `NO_CLOSE_FRAME`.
        reason: the peer's own words, or ours where it gave none; for people.
        clean: the peer's close frame was received, so everything it had sent before was too.
        error: what ended it, if it was an error: the receiver's own exception, a violation of the protocol, the
            operating system's. None of those is raised anywhere else.
        receiver_failed: the error is an exception that `Receiver.on_message` raised.
    """

    code: int
    reason: str
    clean: bool
    error: Exception | None = None
    receiver_failed: bool = False

    @property
    def why(self) -> str:
        """One line for people."""
        words = self.reason or (f"{type(self.error).__name__}: {self.error}" if self.error else "")
        head = "cut" if self.code == NO_CLOSE_FRAME else f"closed with {self.code}"
        return f"{head}: {words}" if words else head


class ConnectFailed(ExchangeError):
    """There is no connection.

    Attributes:
        status: the HTTP status that the exchange answered instead of 101; None where it did not answer (a proxy's
            refusal is not the exchange's).
        retry_after_s: the answer's `Retry-After`, in seconds; None without one.
    """

    kind = "connect"

    def __init__(self, text: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class Receiver(Protocol):
    """Who hears what a connection brings. Both are called from the event loop's thread, never at once."""

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """A whole message, text or binary, fragments joined; may come before `connect` returned.

        Args:
            received_ns: UTC ns of the host's clock when the bytes that completed it were read; messages of one read
                share it.

        An exception ends the connection and stands in `Ended.error`.
        """

    def on_ended(self, ended: Ended) -> None:
        """Once, whoever ended it; nothing comes after."""


class Wire(Protocol):
    """An open connection. It answers pings with their payload by itself and never asks for compression."""

    @property
    def is_open(self) -> bool:
        """Neither end has begun to close it."""

    @property
    def controls(self) -> int:
        """How many control frames (pings, pongs) have come: a peer that sends them lives, though it says nothing."""

    async def run(self) -> Ended:
        """Waits until it ended, tells the receiver and returns the same. To be awaited by one owner, once."""

    async def send(self, text: str) -> None:
        """A text message. Waits while the peer does not read; on an ended connection it is let go (see `run`)."""

    async def ping(self) -> None:
        """A ping; the pong shows in `controls`."""

    def pause_reading(self) -> None:
        """Lets what comes wait in the operating system's buffers, then with the peer. Not for long: exchanges cut off
        who does not read."""

    def resume_reading(self) -> None:
        """Ends `pause_reading`."""

    async def close(self, timeout_s: float) -> None:
        """The closing handshake; messages that the peer sent before its answer are still received. Without an answer
        within the timeout the connection is aborted."""

    def abort(self) -> None:
        """Drops the connection at once."""


class Transport(Protocol):
    """Makes connections."""

    @property
    def name(self) -> str:
        """The library's name."""

    async def connect(self, url: str, receiver: Receiver, *, proxy: str | None, timeout_s: float) -> Wire:
        """Opens a connection; the timeout bounds name resolution, proxy, TLS and handshake together.

        Args:
            proxy: `http://user:password@host:port`, or None.

        Raises:
            ConnectFailed: there is none.
        """


def retry_after_s(value: str | None) -> float | None:
    """`Retry-After` as the exchange sends it: whole seconds. Anything else counts as none."""
    text = (value or "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def refused(status: int, retry_after: str | None, body: bytes | bytearray | None) -> ConnectFailed:
    """The handshake was answered with another status than 101."""
    said = " ".join(bytes(body or b"")[:300].decode("utf-8", "replace").split())
    text = f"the handshake was answered with HTTP {status}" + (f": {said}" if said else "")
    return ConnectFailed(text, status=status, retry_after_s=retry_after_s(retry_after))
