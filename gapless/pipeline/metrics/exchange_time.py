"""The exchange's time for a process that must not wait for the exchange: this host's clock, put right now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gapless.domain.instrument import Market
from gapless.errors import GaplessError
from gapless.pipeline.coverage import ask_clock
from gapless.pipeline.runtime import Runtime

_RENEW_S = 600.0
_RETRY_S = 60.0


def _host_ms() -> int:
    return time.time_ns() // 1_000_000


class ExchangeTime:
    """The exchange's time as far as it is known. Before the first answer it is the host's, which is good enough to tell
    how late something is, and decides nothing of what is stored."""

    def __init__(self, host_ms: Callable[[], int] = _host_ms) -> None:
        self._host_ms = host_ms
        self._ahead_ms: int | None = None

    @property
    def host_ahead_ms(self) -> int | None:
        """How far the host's clock is ahead of the exchange's; None while that is not known."""
        return self._ahead_ms

    def now_ms(self) -> int:
        return self._host_ms() - (self._ahead_ms or 0)

    def host_now_ms(self) -> int:
        """The host's own, by which the books date what they take in."""
        return self._host_ms()

    def ask(self, rt: Runtime) -> None:
        """Read the exchange's clock; what was known stays when it does not answer within a few seconds.

        Raises:
            GaplessError: it did not answer, or refused.
        """
        try:
            asked = ask_clock(rt, Market.UM)
        except GaplessError:  # a region may be refused futures and not spot
            asked = ask_clock(rt, Market.SPOT)
        self._ahead_ms = self._host_ms() - asked

    @contextmanager
    def kept(self, rt: Runtime) -> Iterator[None]:
        """Ask at once and every ten minutes, in a thread that ends with the block; tell `rt.say` when asking fails."""
        over = threading.Event()

        def keep() -> None:
            while not over.is_set():
                pause = _RENEW_S
                try:
                    self.ask(rt)
                except GaplessError as error:
                    pause = _RETRY_S
                    rt.say(f"the exchange's clock cannot be read ({error}); asked again in {pause:.0f} s")
                over.wait(pause)

        keeper = threading.Thread(target=keep, name="exchange-time", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join(timeout=_RETRY_S)
