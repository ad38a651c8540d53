"""One HTTP exchange with Binance over ccxt's implicit endpoints: the answer as received, judged by nobody here.

ccxt builds the URL and owns the session; its limiter, its retries and its error classes are out of the way (the classes
depend on the host's name and cannot tell 429 from 418: reference 11.4). What comes back is the body's own text with
status and headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from gapless.domain.instrument import Market
from gapless.exchanges.binance.ccxt_import import ccxt_class

_PATHS = {
    Market.SPOT: {"public": "/api/v3"},
    Market.UM: {"fapiPublic": "/fapi/v1", "fapiPublicV2": "/fapi/v2", "fapiData": "/futures/data"},
}
_USED_WEIGHT = "x-mbx-used-weight-1m"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the exchange, whatever it says.

    Attributes:
        headers: names in lower case.
        sent_s, received_s: the monotonic clock around the request.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    sent_s: float
    received_s: float

    @property
    def used_weight(self) -> int | None:
        """The exchange's own count of this address's weight in the current minute."""
        return _whole(self.headers.get(_USED_WEIGHT))

    @property
    def retry_after_s(self) -> int | None:
        """`Retry-After` in seconds; documented for spot, absent on USD-M as often as not."""
        return _whole(self.headers.get("retry-after"))


class NoReply(Exception):
    """The request ended without an answer: timeout, refused or cut connection, a proxy that declined.

    Attributes:
        lasting: trying again cannot help (a proxy's refusal, a certificate that does not verify).
    """

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


_reply: ContextVar[list[Reply]] = ContextVar("gapless_binance_reply")


class Wire:
    """A ccxt exchange of one market turned into a transport. Close it; not usable from two event loops."""

    def __init__(
        self,
        market: Market,
        base_url: str,
        timeout_s: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._exchange: Any = ccxt_class(market)(
            {"enableRateLimit": False, "timeout": int(timeout_s * 1000), "aiohttp_trust_env": True, "userAgent": None}
        )
        base = base_url.rstrip("/")
        self._exchange.urls["api"] = {name: base + path for name, path in _PATHS[market].items()}
        self._exchange.on_rest_response = self._keep
        self._exchange.handle_errors = _ignore
        self._exchange.handle_http_status_code = _ignore
        if urlsplit(base).scheme == "http":
            self._exchange.timeout_on_exit = 0  # the pause lets TLS sessions say goodbye; here there is none

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._exchange.close()

    async def get(self, endpoint: str, params: Mapping[str, str | int]) -> Reply:
        """Call one of ccxt's implicit endpoints, such as `fapiPublicGetKlines`.

        Raises:
            NoReply: no complete answer arrived.
        """
        slot: list[Reply] = []
        token = _reply.set(slot)  # each task has its own context: answers of concurrent requests cannot be mixed up
        sent = self._monotonic()
        try:
            async with asyncio.timeout(self._timeout_s * 2):
                await getattr(self._exchange, endpoint)(dict(params))
        except TimeoutError:
            raise NoReply(f"no answer within {self._timeout_s * 2:g} s") from None
        except Exception as error:
            # ccxt wraps what aiohttp raises, but not what the socket raises by itself
            cause = error if isinstance(error, OSError | aiohttp.ClientError) else error.__cause__
            if not isinstance(cause, OSError | aiohttp.ClientError | TimeoutError):
                raise
            raise _no_reply(cause, self._timeout_s) from error
        finally:
            _reply.reset(token)
        answer = slot[0]
        return Reply(answer.status, answer.headers, answer.body, sent, answer.received_s)

    def _keep(
        self, code: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *request: object
    ) -> str:
        """Stands for ccxt's `on_rest_response`: takes the answer out and leaves ccxt nothing to parse."""
        lower = {name.lower(): value for name, value in headers.items()}
        now = self._monotonic()
        _reply.get().append(Reply(code, lower, body, now, now))
        return ""


def _ignore(*args: object) -> None:
    """Stands for ccxt's own judgement of answers."""


def _no_reply(cause: BaseException, timeout_s: float) -> NoReply:
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return NoReply(
            f"the proxy declined the connection ({cause.status} {cause.message})", lasting=cause.status < 500
        )
    if isinstance(cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return NoReply(f"the connection is not trustworthy ({cause})", lasting=True)
    if isinstance(cause, TimeoutError):
        return NoReply(f"no answer within {timeout_s:g} s")
    if isinstance(cause, aiohttp.ClientPayloadError):
        return NoReply("the connection broke in the middle of the answer")
    return NoReply(str(cause) or type(cause).__name__)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
