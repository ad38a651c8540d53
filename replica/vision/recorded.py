"""Recorded files of the archive, found below a folder and served byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

from gapless.domain.instrument import Market
from replica.vision.objects import CHECKSUM, FOLDERS, ArchiveFile, parse_path

_STEM = re.compile(r"(?P<symbol>.+)-(?P<what>\d+[mhd]|fundingRate|metrics)-(?P<period>\d{4}-\d{2}(?:-\d{2})?)")


class RecordedZips:
    """The ZIPs below a folder that are named as the archive names them, by their place in the archive.

    The market is told by a folder on the way named `spot` or `um` (or beginning so), the nearest to the file first;
    others (`cm`) are passed over.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._paths: dict[str, Path] = {}
        self._symbols: dict[Market, set[str]] = {market: set() for market in Market}
        for path in sorted(root.rglob("*.zip")):
            file = _placed(path)
            if file is not None:
                self._paths[file.path] = path
                self._symbols[file.market].add(file.symbol)

    def find(self, path: str) -> Path | None:
        """The recording of an archive path."""
        return self._paths.get(path)

    def symbols(self, market: Market) -> set[str]:
        """Whose files there are."""
        return self._symbols[market]

    def below(self, folder: str) -> list[str]:
        """The archive paths recorded directly in a folder of the archive, in order."""
        return sorted(path for path in self._paths if path.startswith(folder) and "/" not in path[len(folder) :])


def recorded_checksum(path: Path) -> bytes | None:
    """The real checksum file beside a recording, if it was kept."""
    beside = path.with_name(path.name + CHECKSUM)
    return beside.read_bytes() if beside.is_file() else None


def _placed(path: Path) -> ArchiveFile | None:
    match = _STEM.fullmatch(path.stem)
    if match is None:
        return None
    for folder in path.resolve().parent.parts[::-1]:
        name = folder.split("_")[0]
        if name == "cm":
            return None
        if name in ("spot", "um"):
            cut = "daily" if len(match["period"]) > len("2024-09") else "monthly"
            kind, interval = ("klines", f"{match['what']}/") if match["what"][0].isdigit() else (match["what"], "")
            place = f"data/{FOLDERS[Market(name)]}/{cut}/{kind}/{match['symbol']}/{interval}"
            return parse_path(place + path.name)
    return None
