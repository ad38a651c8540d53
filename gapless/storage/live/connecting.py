"""Opening a connection of the live writer: address, greeting, questions with parsed answers, then handed over."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hiredis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from gapless.errors import ConfigError, StorageError
from gapless.storage.live.resp import Target, pack

_TAILS_A_CALL = 200
_READ_BYTES = 64 * 2**10
_NOBODY = 2**62
"""The id of no client."""

_REFUSES_US = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password", "ERR Client sent AUTH")


class RedisRefuses(StorageError):
    """Redis answered with an error; its first word is the code."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who answers.

    Attributes:
        run_id: of the server's process: another one after each start.
        client_id: of this connection, for who must end it later.
        clock_ms: the server's time, UTC ms.
    """

    run_id: str
    client_id: int
    clock_ms: int


class Wire(asyncio.Protocol):
    """One connection. First it is asked and answers; after `count` its bytes go to a receiver as they come."""

    def __init__(self, on_lost: Callable[[Wire, str], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.writable = True
        self.on_writable: Callable[[], None] | None = None
        self._on_lost = on_lost
        self._receive: Callable[[bytes], None] | None = None
        self._reader = hiredis.Reader()
        self._answers: list[Any] = []
        self._wanted = 0
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._why = ""
        self._descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=1 << 20, low=1 << 18)

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
            return
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            self._answers.append(answer)
        self._give()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.on_writable is not None:
            self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._why = str(exc or "") or "the connection was closed"
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(StorageError(f"Redis hung up: {self._why}"))
        self._on_lost(self, self._why)

    async def ask(self, *commands: bytes) -> list[Any]:
        """The answers to these packed commands; an error among them is a value (`hiredis.ReplyError`).

        Raises:
            StorageError: the connection was lost before all had come.
        """
        if self._why or self.transport is None:
            raise StorageError(f"Redis hung up: {self._why}")
        self._answers, self._wanted = [], len(commands)
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(b"".join(commands))
        return await self._waiting

    async def tails(self, wanted: Mapping[Target, int]) -> dict[Target, list[bytes]]:
        """Identities of the newest entries of these Streams, as many as are wanted of each, oldest first.

        A key that holds something else has none.

        Raises:
            StorageError: Redis is away, or refuses.
        """
        found: dict[Target, list[bytes]] = {}
        targets = list(wanted)
        for start in range(0, len(targets), _TAILS_A_CALL):
            some = targets[start : start + _TAILS_A_CALL]
            commands = [pack(b"XREVRANGE", t.key, b"+", b"-", b"COUNT", b"%d" % wanted[t]) for t in some]
            for target, rows in zip(some, await self.ask(*commands), strict=True):
                if isinstance(rows, hiredis.ReplyError) and not str(rows).startswith(("WRONGTYPE", "NOPERM")):
                    raise RedisRefuses(str(rows))
                entries = rows if isinstance(rows, list) else []
                found[target] = [
                    target.identify(dict(zip(flat[::2], flat[1::2], strict=True))) for _, flat in reversed(entries)
                ]
        return found

    def count(self, receive: Callable[[bytes], None]) -> None:
        """From now on bytes go to `receive`."""
        self._receive = receive
        if self.transport is not None and self.transport.get_extra_info("sslcontext") is None:
            self._descriptor = self.transport.get_extra_info("socket").fileno()

    def read_now(self) -> bytes:
        """What is there to be read, without waiting for the loop's next turn; empty: nothing, or it cannot be known.

        Only for who has the bytes counted. That the connection ended is found out by the loop.
        """
        if self._descriptor < 0 or self.transport is None or self.transport.is_closing():
            return b""
        try:
            return os.read(self._descriptor, _READ_BYTES)
        except OSError:
            return b""

    def abort(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()

    def _give(self) -> None:
        if self._waiting is not None and not self._waiting.done() and len(self._answers) >= self._wanted:
            self._waiting.set_result(self._answers)


class Address:
    """Where Redis is, and how it wants to be greeted: `redis://`, `rediss://` or `unix://`.

    Raises:
        ConfigError: the URL is none of these.
    """

    def __init__(self, url: str) -> None:
        try:
            self._parts: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise ConfigError(f"GAPLESS_REDIS_URL: {error}") from None

    def __str__(self) -> str:
        parts = self._parts
        return str(parts.get("path") or f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}")

    async def connect(self, on_lost: Callable[[Wire, str], None]) -> Wire:
        """A connection; nothing was said yet.

        Raises:
            OSError: nobody is there.
        """
        loop, parts = asyncio.get_running_loop(), self._parts
        if parts.get("connection_class") is UnixDomainSocketConnection:
            _, wire = await loop.create_unix_connection(lambda: Wire(on_lost), parts["path"])
            return wire
        context = self._tls() if parts.get("connection_class") is SSLConnection else None
        host, port = parts.get("host", "localhost"), parts.get("port", 6379)
        _, wire = await loop.create_connection(lambda: Wire(on_lost), host, port, ssl=context)
        return wire

    async def greet(self, wire: Wire, name: str, kill: tuple[str, int] | None) -> Greeting:
        """Say who we are, and end the connection that we had before, if it is the same server still.

        Args:
            kill: run id and client id of the connection before. When this returns, nothing of it will be executed.

        Raises:
            ConfigError: Redis does not let us in, or lacks what is needed.
            StorageError: it is away, or not ready.
        """
        password, user = self._parts.get("password"), self._parts.get("username")
        hello = [pack(b"SELECT", b"%d" % int(self._parts.get("db") or 0)), pack(b"CLIENT", b"SETNAME", name.encode())]
        hello += [pack(b"CLIENT", b"ID"), pack(b"INFO", b"server"), pack(b"TIME")]
        if password:
            words = [user.encode()] if user else []
            hello.insert(0, pack(b"AUTH", *words, password.encode()))
        answers = await wire.ask(*hello)
        _judge(*answers)
        *_, client_id, info, time = answers
        run_id = _field(info, "run_id")
        # Asked also when there is nobody to kill: who may not do this is told so at the start, not in an emergency.
        old = kill[1] if kill and kill[0] == run_id else _NOBODY
        _judge(*await wire.ask(pack(b"CLIENT", b"KILL", b"ID", b"%d" % old)))
        return Greeting(run_id, int(client_id), int(time[0]) * 1000 + int(time[1]) // 1000)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._parts.get("ssl_ca_certs"))
        if self._parts.get("ssl_cert_reqs") in ("none", "CERT_NONE", ssl.CERT_NONE):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._parts.get("ssl_certfile"):
            context.load_cert_chain(self._parts["ssl_certfile"], self._parts.get("ssl_keyfile"))
        return context


def _judge(*answers: object) -> None:
    for answer in answers:
        if not isinstance(answer, hiredis.ReplyError):
            continue
        text = str(answer)
        if text.startswith(_REFUSES_US):
            raise ConfigError(f"Redis refuses us ({text}): GAPLESS_REDIS_URL needs the right user and password")
        raise RedisRefuses(text)


def _field(info: Sequence[int] | bytes, name: str) -> str:
    for line in bytes(info).decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value
    raise StorageError(f"Redis says nothing of its {name}")
