"""The life of the process: signals, the event loop, the session in it, the end in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from gapless.config import Settings
from gapless.errors import GaplessError
from streamer.operations.request import Orders, StreamRequest
from streamer.operations.settings_file import StreamerSettings

_AT_ONCE = 130
_GRACE_S = 10.0
"""What a stop may take beyond the settings' `stop_s`, to close what is open."""


class Session(Protocol):
    """What runs: `streamer.session.run_session`."""

    def __call__(
        self,
        request: StreamRequest,
        settings: Settings,
        options: StreamerSettings,
        *,
        orders: Orders,
        say: Callable[[str], None],
    ) -> Awaitable[int]:
        """Stream until `orders.over`, then write what is under way. 0: all was written; 1: not all."""


def serve(
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    *,
    session: Session | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a session until it ends; the process's exit status.

    SIGTERM and SIGINT end it in order, a second of them at once; SIGHUP has the list of instruments read again.

    Raises:
        GaplessError: why it could not go on.
    """
    if session is None:
        from streamer.session import run_session

        session = run_session
    try:
        return asyncio.run(_serve(request, settings, options, session, say or to_stderr))
    except BaseExceptionGroup as group:
        # Tasks end together with the first that failed: it is what is told.
        cause = _first(group)
        if isinstance(cause, GaplessError):
            raise cause from None
        raise


async def _serve(
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    session: Session,
    say: Callable[[str], None],
) -> int:
    orders = Orders()
    loop = asyncio.get_running_loop()

    def stop(name: str) -> None:
        if orders.over.is_set():
            say(f"{name} again: ending at once, what was not written is lost")
            os._exit(_AT_ONCE)  # no handler, no cleanup may stand in the way of who asks twice
        say(f"{name}: writing what is under way, then ending")
        orders.over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, orders.reload.set)
    running = asyncio.ensure_future(session(request, settings, options, orders=orders, say=say))
    stopping = asyncio.create_task(orders.over.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait([running], timeout=options.operations.stop_s + _GRACE_S)
        if running.done():
            return running.result()
        say("the stop took longer than it may: ending, what was not written is lost or on disk")
        return 1
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def to_stderr(line: str) -> None:
    """One line of the log, with its time."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        known = [each for each in found.exceptions if isinstance(each, GaplessError | BaseExceptionGroup)]
        found = (known or list(found.exceptions))[0]
    return found
