"""JSON posted to a receiver of pages: with bounded patience, by the proxies that are set, no secret in a message."""

from __future__ import annotations

import base64
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

from gapless.errors import PagerError

log = logging.getLogger(__name__)

_SHOWN = 300
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a receiver is waited for.

    Attributes:
        total_s: of all posts of one line together: what a run gives a receiver that is away or slow.
        request_s: silence after which one request is given up.
        first_s, longest_s: pauses between tries of one post double from the first to the longest.
        tries: of one post.
    """

    total_s: float = 30.0
    request_s: float = 10.0
    first_s: float = 0.5
    longest_s: float = 5.0
    tries: int = 4


@dataclass
class Line:
    """The way to one receiver, for one run.

    Args:
        name: the receiver's, in messages.
        url: http or https; user and password in it become a header.
        secrets: texts that never show, should the receiver repeat them.
    """

    name: str
    url: str
    secrets: Sequence[str] = ()
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    _spent_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        self._address = parts._replace(netloc=host).geturl()
        self._headers = {"Content-Type": "application/json", "User-Agent": "gapless"}
        hidden = [text for text in self.secrets if text]
        if parts.username or parts.password:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            token = base64.b64encode(pair.encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
            hidden += [text for text in (parts.password, unquote(parts.password or ""), token) if text]
        self._hidden = hidden
        self.server = host

    def post(self, body: bytes, *, what: str) -> None:
        """Hand in a JSON body; returns when the receiver took it (2xx).

        Raises:
            PagerError: it refused it (`away` false), or did not answer for as long as the line's patience lasts.
        """
        pause = self.patience.first_s
        for attempt in range(1, self.patience.tries + 1):
            left = self.patience.total_s - self._spent_s
            if left <= 0:
                raise PagerError(f"{self._named(what)}: its time in this run is spent; the next run goes on", away=True)
            began = self.clock()
            problem, retry_after_s = self._try(body, min(self.patience.request_s, left), what)
            self._spent_s += self.clock() - began
            if problem is None:
                return
            wait = max(pause * (0.5 + self.jitter()), retry_after_s)
            if attempt == self.patience.tries or wait > self.patience.total_s - self._spent_s:
                raise PagerError(
                    f"{self._named(what)}: {problem}; tried {attempt} times, the next run goes on", away=True
                )
            log.warning("%s: %s; trying again in %.1f s", self._named(what), problem, wait)
            self.sleep(wait)
            self._spent_s += wait
            pause = min(pause * 2, self.patience.longest_s)
        raise AssertionError("a line has at least one try")

    def _try(self, body: bytes, timeout_s: float, what: str) -> tuple[str | None, float]:
        """None when it was taken; else why not, and how many seconds the receiver asks to wait."""
        request = Request(self._address, data=body, headers=self._headers, method="POST")  # noqa: S310 - http(s) only
        try:
            with _opener().open(request, timeout=timeout_s) as answer:
                return self._judge(answer, what)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            return self._clean(str(reason) or type(reason).__name__), 0.0

    def _judge(self, answer: HTTPResponse, what: str) -> tuple[str | None, float]:
        status = answer.status
        if 200 <= status < 300:
            return None, 0.0
        said = f"HTTP {status} {self._clean(_words(answer.read1(65_536)))}".strip()
        if status == _TOO_MANY or status >= 500:
            asked = answer.headers.get("Retry-After", "")
            return said, float(asked) if asked.isdecimal() else 0.0
        # A redirect too: a POST that is sent elsewhere by a stranger's word would carry the key there.
        raise PagerError(f"{self._named(what)}: refused, {said}; see its address and key in the settings", away=False)

    def _named(self, what: str) -> str:
        return f"{what} to {self.name} ({self.server})"

    def _clean(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return "".join(char if char.isprintable() else " " for char in text)[:_SHOWN]


def _words(body: bytes) -> str:
    """What an answer says: its `message` and `errors` if it has them, else as it is."""
    text = body.decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except ValueError:
        return text
    if isinstance(said, str):
        return said
    if isinstance(said, dict) and "message" in said:
        errors = said.get("errors")
        more = [str(each) for each in errors] if isinstance(errors, list) else []
        return ": ".join([str(said["message"]), *([", ".join(more)] if more else [])])
    return text


def _opener() -> OpenerDirector:
    """Proxies of the environment, http and https; no redirects, and every status is an answer."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(), UnknownHandler()):
        opener.add_handler(handler)
    return opener
