"""GET from the archive, patiently: what passes is tried again, a network that is away is waited for, within bounds.

The archive has no request weights; it is a bucket behind a content network. Its answers: 200, 404 (an answer like any
other), 5xx and 429 (pass), 403 and 451 (a firewall or a region).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from gapless.errors import ExchangeError, RateLimited, RegionRefused

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_SHORTEST_PAUSE_S = 0.25
_LONGEST_DOWNLOAD_S = 1800.0
_EXCERPT_BYTES = 65_536

OnWait = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Body:
    """A good answer.

    Attributes:
        etag: without its quotes, "" when there is none.
        whole: False when it is larger than was allowed; `data` is then empty.
    """

    data: bytes
    etag: str
    sha256: str
    whole: bool = True


class _Passing(Exception):
    """An attempt failed in a way that may pass. Attributes: `after_s`, the server's own wish for a pause."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class _NoReply(_Passing):
    """Nothing came, or it broke off: the network may be away."""


class Transport:
    """One session with a bounded number of requests under way. An async context manager.

    Attributes:
        requests, bytes: what was sent (failed attempts and probes included) and the bytes of bodies received.

    Args:
        base_url: asked by probes when an answer fails to come, to tell a network that is away from a sick object.
        timeout_s: for connecting, and for each silence of the answer; one download lasts half an hour at most.
        attempts: tries for what passes while the network is there; waits between them grow to 8 s, with jitter.
        patience_s: how long a network that is away is waited for, by one call altogether.
        on_wait: told once when the network goes away, once when it is back, and of every pause the server asks for.
    """

    def __init__(
        self,
        base_url: str,
        *,
        concurrency: int,
        timeout_s: float,
        attempts: int,
        patience_s: float,
        on_wait: OnWait | None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.requests = 0
        self.bytes = 0
        self._probed = URL(base_url.rstrip("/") + "/", encoded=True)
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._patience_s = patience_s
        self._on_wait = on_wait
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(concurrency)
        self._gate = asyncio.Lock()
        self._answers = 0
        self._outages = 0
        self._away_since_s: float | None = None
        self._not_before_s = 0.0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency + 1),  # one more for the probe
            timeout=aiohttp.ClientTimeout(
                total=_LONGEST_DOWNLOAD_S, sock_connect=self._timeout_s, sock_read=self._timeout_s
            ),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: URL, about: str, max_bytes: int) -> Body | None:
        """The body at `url`; None when the server says that there is none (404).

        Args:
            about: what is asked for, for messages.

        Raises:
            RegionRefused: 403 or 451.
            RateLimited: the server asks for a longer pause than anybody here is ready to make.
            ExchangeError: it did not work, and trying again did not help or cannot.
        """
        failures = 0
        away_s = 0.0
        while True:
            try:
                return await self._send(url, about, max_bytes)
            except _NoReply as error:
                why = str(error)
                before_s = self._monotonic()
                if await self._was_away(self._answers, self._outages, f"{about} at {url.host}", why):
                    away_s += self._monotonic() - before_s
                    if away_s < self._patience_s:
                        continue
                    raise self._error(url, about, f"{why}; the network came and went for {away_s:.0f} s") from None
            except _Passing as error:
                why = str(error)
                await self._wait_as_told(error.after_s, url, about, why)
            failures += 1
            if failures >= self._attempts:
                raise self._error(url, about, f"{why}; gave up after {failures} attempts") from None
            await self._pause(failures)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the archive client is used inside `async with` only")
        return self._session

    async def _send(self, url: URL, about: str, max_bytes: int) -> Body | None:
        session = self._opened()
        async with self._slots:
            while (left_s := self._not_before_s - self._monotonic()) > 0:
                await self._sleep(left_s)
            self.requests += 1
            try:
                async with session.get(url, allow_redirects=False) as answer:
                    self._answered()
                    return await self._take(answer, url, about, max_bytes)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                raise self._no_reply(error, url, about) from error

    async def _take(self, answer: aiohttp.ClientResponse, url: URL, about: str, max_bytes: int) -> Body | None:
        if answer.status == 200:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise _Passing("the answer came compressed although nobody asked for that (a proxy?)")
            return await self._read(answer, max_bytes)
        said = await self._read(answer, _EXCERPT_BYTES)  # read to the end, so that the connection can be used again
        if answer.status == 404:
            return None
        why = f"HTTP {answer.status}: {_excerpt(said.data)}"
        if answer.status in (403, 451):
            raise RegionRefused(
                f"binance archive at {url.host} refuses this address ({why}); use another network or a mirror "
                "(GAPLESS_BINANCE_VISION_URL), or take the data from REST (--source rest)"
            )
        if answer.status in (408, 429) or answer.status >= 500:
            raise _Passing(why, _seconds(answer.headers.get("Retry-After")))
        if 300 <= answer.status < 400:
            why = f"HTTP {answer.status}, a redirection to {answer.headers.get('Location', 'nowhere')}"
        raise self._error(url, about, why)

    async def _read(self, answer: aiohttp.ClientResponse, max_bytes: int) -> Body:
        etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
        too_large = Body(b"", etag, "", whole=False)
        if answer.content_length is not None and answer.content_length > max_bytes:
            return too_large
        digest = hashlib.sha256()
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            self.bytes += len(piece)
            if size > max_bytes:
                return too_large
            digest.update(piece)
            pieces.append(piece)
        return Body(b"".join(pieces), etag, digest.hexdigest())

    async def _was_away(self, answers: int, outages: int, about: str, why: str) -> bool:
        """Whether a request failed because the network was away; it is back when this returns.

        One task watches for all: the others stand at the gate. That the network is there is proved by any answer
        to anybody since the failure, or to a probe.

        Args:
            answers, outages: the counts when the request failed.

        Raises:
            ExchangeError: it stayed away for as long as anybody is ready to wait.
        """
        async with self._gate:
            if self._outages != outages:
                return True
            if self._answers != answers:
                return False
            pause_s = _FIRST_PAUSE_S
            while not await self._probe():
                now_s = self._monotonic()
                if self._away_since_s is None:
                    self._away_since_s = now_s
                    self._tell(f"{why}; the network seems to be away, waiting for it up to {self._patience_s:.0f} s")
                left_s = self._away_since_s + self._patience_s - now_s
                if left_s <= 0:
                    raise ExchangeError(
                        f"binance archive {about}: {why}; the network has been away for "
                        f"{now_s - self._away_since_s:.0f} s; run the same again once it is back, nothing is lost"
                    )
                await self._sleep(max(_SHORTEST_PAUSE_S, min(pause_s * (0.5 + self._jitter() / 2), left_s)))
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            return self._outages != outages

    async def _probe(self) -> bool:
        """Whether anything answers at the archive's address, whatever it says."""
        self.requests += 1
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with self._opened().head(self._probed, allow_redirects=False, timeout=timeout):
                self._answered()
                return True
        except (aiohttp.ClientError, OSError):
            return False

    def _answered(self) -> None:
        """Something came from the archive's side: the network is there."""
        self._answers += 1
        if self._away_since_s is not None:
            self._tell(f"the network is back after {self._monotonic() - self._away_since_s:.0f} s")
            self._away_since_s = None
            self._outages += 1

    async def _wait_as_told(self, after_s: float | None, url: URL, about: str, why: str) -> None:
        """Keep everybody from asking for as long as the server wishes."""
        if after_s is None:
            return
        if after_s > self._patience_s:
            raise RateLimited(
                f"binance archive {about} at {url.host}: {why}; it asks for {after_s:.0f} s, try again then",
                retry_after_s=after_s,
            )
        self._tell(f"{why}; it asks for a pause of {after_s:.0f} s")
        self._not_before_s = max(self._not_before_s, self._monotonic() + after_s)

    async def _pause(self, failures: int) -> None:
        longest_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
        await self._sleep(longest_s * (0.5 + self._jitter() / 2))

    def _no_reply(self, error: Exception, url: URL, about: str) -> Exception:
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status < 500:
            return self._error(url, about, f"the proxy declined the connection ({error.status} {error.message})")
        if _distrusted(error):
            return self._error(url, about, f"the connection is not trustworthy ({error})")
        if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
            return self._error(url, about, f"not an address: {error}; set GAPLESS_BINANCE_VISION_URL")
        if isinstance(error, TimeoutError):
            return _NoReply(f"no answer within {self._timeout_s:g} s")
        if isinstance(error, aiohttp.ClientPayloadError):
            return _NoReply("the connection broke in the middle of the answer")
        return _NoReply(str(error) or type(error).__name__)

    @staticmethod
    def _error(url: URL, about: str, why: str) -> ExchangeError:
        return ExchangeError(f"binance archive {about} at {url.host}: {why}; try again later, or take it from REST")

    def _tell(self, text: str) -> None:
        if self._on_wait is not None:
            self._on_wait(f"binance archive at {self._probed.host}: {text}")


def _distrusted(error: Exception) -> bool:
    """Whether TLS itself failed, which repeating cannot change; a line cut within the handshake is no such thing."""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return not isinstance(error.os_error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _excerpt(data: bytes) -> str:
    line = " ".join(data.decode(errors="replace").split())
    return (line[:160] + " ...") if len(line) > 160 else line or "(an empty body)"
