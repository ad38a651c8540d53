"""Which Streams are trimmed when: each once in a round, a few at a time, so that no trim is large. Pure."""

from __future__ import annotations

from gapless.storage.live.resp import pack
from streamer.outlet.settings import OutletSettings
from streamer.outlet.streams import OutStream


class Trims:
    """The round over all Streams."""

    def __init__(self, settings: OutletSettings) -> None:
        self._settings = settings
        self._round: list[OutStream] = []
        self._share = 0.0

    def add(self, out: OutStream) -> None:
        """This Stream is in the round from now on."""
        self._round.append(out)

    def due(self, passed_s: float, redis_ms: int) -> list[tuple[OutStream, bytes]]:
        """The Streams whose turn it is after so much time, and the packed commands.

        Args:
            redis_ms: the server's time; the ids of entries are made of it.
        """
        self._share = min(self._share + len(self._round) * passed_s / self._settings.trim_every_s, len(self._round))
        turn, self._share = int(self._share), self._share % 1
        now, self._round = self._round[:turn], self._round[turn:]
        self._round += now
        commands = []
        for out in now:
            bound = self._settings.bound(out.kind)
            if bound.minutes:
                oldest_ms = max(redis_ms - bound.minutes * 60_000, 0)
                commands.append((out, pack(b"XTRIM", out.key, b"MINID", b"~", b"%d-0" % oldest_ms)))
            commands.append((out, pack(b"XTRIM", out.key, b"MAXLEN", b"~", b"%d" % bound.entries)))
        return commands
