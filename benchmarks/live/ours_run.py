"""Our own command as it is, or with the time of each acknowledgement noted: `python -m benchmarks.live.ours_run`.

    python -m benchmarks.live.ours_run STAMPS|- stream --symbols ...

With `-` nothing is changed. Otherwise each batch is noted in a file when it is settled (its last reply has come), for
memory would grow by all that was ever sent; at the end it becomes `T|D symbol id monotonic_ns` a line, as by
`cryptofeed_run`.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from gapless.cli import main
from gapless.storage.live.flight import Flight
from gapless.storage.live.resp import unpack

_HEAD = struct.Struct("<qI")
_KINDS = {b"md.trades.binance.": b"T", b"md.depth.binance.": b"D"}


def note(file: BinaryIO) -> None:
    """Have the window of the writer note when its batches were settled."""
    now_ns, pack, put = time.monotonic_ns, _HEAD.pack, file.write

    def landed(data: bytes) -> None:
        put(pack(now_ns(), len(data)))
        put(data)

    Flight.on_landed = landed


def write(noted: BinaryIO, place: Path) -> None:
    """One line an acknowledged entry."""
    with place.open("wb") as file:
        while head := noted.read(_HEAD.size):
            at_ns, size = _HEAD.unpack(head)
            for target, identity, _ in unpack(noted.read(size), {}):
                for prefix, kind in _KINDS.items():
                    if identity and target.key.startswith(prefix):  # a trim has none
                        symbol = target.key[len(prefix) :].replace(b"/", b"")
                        file.write(b"%b %b %b %d\n" % (kind, symbol, identity, at_ns))


def run() -> int:
    """The command's own status."""
    place, *words = sys.argv[1:]
    if place == "-":
        return main(words)
    with tempfile.TemporaryFile(buffering=1 << 18) as noted:
        note(noted)
        try:
            return main(words)
        finally:
            noted.seek(0)
            write(noted, Path(place))


if __name__ == "__main__":
    sys.exit(run())
