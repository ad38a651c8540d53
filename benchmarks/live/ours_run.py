"""Our own command as it is, or with the time of each acknowledgement noted: `python -m benchmarks.live.ours_run`.

    python -m benchmarks.live.ours_run STAMPS|- stream --symbols ...

With `-` nothing is changed. Otherwise what is noted when a batch is settled (its last reply has come) is written to the
file at the end: `T|D symbol id monotonic_ns` a line, as `cryptofeed_run` does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gapless.cli import main
from gapless.storage.live.flight import Flight
from gapless.storage.live.resp import unpack

_KINDS = {b"md.trades.binance.": b"T", b"md.depth.binance.": b"D"}


def note(stamps: list[tuple[int, bytes]]) -> None:
    """Have the window of the writer note when its batches were settled."""
    now_ns = time.monotonic_ns
    Flight.on_landed = lambda data: stamps.append((now_ns(), data))


def write(stamps: list[tuple[int, bytes]], place: Path) -> None:
    """One line an acknowledged entry."""
    with place.open("wb") as file:
        for at_ns, data in stamps:
            for target, identity, _ in unpack(data, {}):
                for prefix, kind in _KINDS.items():
                    if identity and target.key.startswith(prefix):  # a trim has none
                        symbol = target.key[len(prefix) :].replace(b"/", b"")
                        file.write(b"%b %b %b %d\n" % (kind, symbol, identity, at_ns))


def run() -> int:
    """The command's own status."""
    place, *words = sys.argv[1:]
    if place == "-":
        return main(words)
    stamps: list[tuple[int, bytes]] = []
    note(stamps)
    try:
        return main(words)
    finally:
        write(stamps, Path(place))


if __name__ == "__main__":
    sys.exit(run())
