"""What a pipe into Redis is told, and what it tells: its bounds, and the side of who owns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gapless.storage.live.fence import Loss
from gapless.storage.live.resp import Command


class PipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the pipe behaves.

    Attributes:
        window_count, window_bytes: how much may be on its way unanswered.
        flush_bytes: so much is sent at once, without waiting for the end of the loop's turn.
        recent_s, recent_bytes: for how long, and how much of, what was acknowledged is remembered, to be sent again
            if Redis comes back without it (its log on disk is up to a second or two behind).
        connect_timeout_s: to connect and to greet.
        fence_timeout_s: to read the tails of the Streams in doubt.
        reply_timeout_s: after so long without an answer the connection is given up.
        backoff_s: the longest wait between attempts; the first is a hundredth of it.
    """

    window_count: int = 20_000
    window_bytes: int = 16 * 2**20
    flush_bytes: int = 64 * 2**10
    recent_s: float = 2.0
    recent_bytes: int = 32 * 2**20
    connect_timeout_s: float = 5.0
    fence_timeout_s: float = 30.0
    reply_timeout_s: float = 10.0
    backoff_s: float = 2.0


class PipeListener(Protocol):
    """Who owns a pipe. Everything is called in the loop and must not wait."""

    def on_room(self, is_open: bool) -> None:
        """Whether more may be sent now."""

    def on_progress(self) -> None:
        """Some of what was sent is settled."""

    def on_connected(self, again: bool) -> None:
        """The pipe works; `again`: it did before."""

    def on_losses(self, losses: Sequence[Loss]) -> None:
        """Redis was started anew and lacks what it had acknowledged."""

    def on_overtaken(self, command: Command) -> None:
        """Given up: refused for a moment in which later entries of its Stream were taken."""

    def on_refused(self, command: Command, error: str) -> None:
        """Given up: Redis will never take it."""
