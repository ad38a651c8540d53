"""The network between the replica and its clients, as far as it can be cut: for a span of real time every connection is
reset, those under way as well."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gapless.errors import ConfigError
from replica.sending import reset

_LONGEST_CUT_S = 86_400.0
_CONTROL = "/replica/"


class Network:
    """Whether the network is there.

    Args:
        monotonic: seconds of a clock that never jumps; the replica's own clock has no say here.

    Attributes:
        resets: connections reset by cuts so far.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._back_at = 0.0
        self._under_way: dict[int, web.Request] = {}  # by identity: requests have no hash
        self.resets = 0

    def cut(self, seconds: Any) -> None:
        """Cuts it for so long from now on, 0 for not at all; what is under way is reset now.

        Raises:
            ConfigError: that is no span between 0 and a day.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_CUT_S:
            raise ConfigError(f"cut_s must be a number of seconds from 0 to {_LONGEST_CUT_S:.0f}, not {seconds!r}")
        self._back_at = self._monotonic() + seconds
        if seconds:
            for request in tuple(self._under_way.values()):
                self._reset(request)

    def left_s(self) -> float:
        """For how long it stays cut; 0 when it is there."""
        return max(0.0, self._back_at - self._monotonic())

    def middleware(self) -> Any:
        """What resets requests while the network is cut. Control requests (`/replica/`) always pass."""

        @web.middleware
        async def through(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.path.startswith(_CONTROL):
                passed: web.StreamResponse = await handler(request)
                return passed
            if self.left_s():
                return self._reset(request)
            self._under_way[id(request)] = request
            try:
                response: web.StreamResponse = await handler(request)
            finally:
                del self._under_way[id(request)]
            # Cut while the answer was made: it is never sent, and the connection is gone already.
            return response

        return through

    def _reset(self, request: web.Request) -> web.StreamResponse:
        self.resets += 1
        return reset(request, web.StreamResponse())
