"""What health, metrics and the status line ask of a running sidecar: one seam, read from the event loop alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gapless.monitoring.exposition import Sample
from streamer.operations.status import StreamerStatus


class Probe(Protocol):
    """A running session, looked at. No call may wait."""

    def samples(self) -> Iterable[Sample]:
        """The metrics of now, names of `LIVE_CATALOGUE`; most come from `samples_of`."""

    def status(self) -> StreamerStatus:
        """How everything stands."""

    def healthy(self) -> tuple[bool, str]:
        """Whether it works at all, whatever the network does; where not, only a new start helps. And a sentence."""

    def ready(self) -> tuple[bool, str]:
        """Whether readers get what is asked for now; and a sentence."""
