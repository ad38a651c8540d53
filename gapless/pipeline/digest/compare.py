"""Digests of this installation against those of another, series and day by series and day. Pure but for the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import market_of
from gapless.domain.window import Window, from_ms, parse_time
from gapless.errors import ConfigError
from gapless.pipeline.digest.report import DayDigest, Different, DigestRequest


class DigestFile(msgspec.Struct, frozen=True):
    """What `gapless digest --json` printed elsewhere; what it was asked for may be left out."""

    digests: list[DayDigest]
    dataset: str = str(Dataset.OHLCV)
    start: str | None = None
    end: str | None = None


def read_digests(file: Path) -> DigestFile:
    """The digests of another installation.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=DigestFile)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} does not hold digests ({error}): print them with gapless digest --json") from None


class Comparison:
    """Digests of here, as they come, against all those of elsewhere that were asked for.

    Attributes:
        compared: days that at least one side holds. different: those that the other side does not hold alike.

    Args:
        chosen: the symbols that are compared; None: all.

    Raises:
        ConfigError: the file is of another dataset or window: days that a window cuts would differ for nothing.
    """

    def __init__(self, other: DigestFile, request: DigestRequest, chosen: frozenset[str] | None) -> None:
        if other.dataset != request.dataset:
            raise ConfigError(f"the file holds digests of {other.dataset}, asked for are those of {request.dataset}")
        if other.start is not None and other.end is not None:
            window = Window(parse_time(other.start), parse_time(other.end))
            if window != request.window:
                raise ConfigError(
                    f"the file holds digests of {window}, asked for are those of {request.window}: "
                    f"write --start {other.start} --end {other.end}"
                )
        first, last = (from_ms(at).strftime("%Y-%m-%d") for at in (request.start_ms, request.end_ms - 1))
        self._other = {
            each.key: each
            for each in other.digests
            if first <= each.day <= last
            and (chosen is None or each.symbol in chosen)
            and (request.market is None or market_of(each.symbol) is request.market)
            and (request.dataset is not Dataset.OHLCV or each.interval in request.intervals)
        }
        self.compared = 0
        self.different: list[Different] = []

    def take(self, ours: Iterable[DayDigest]) -> None:
        """More digests of here."""
        for mine in ours:
            other = self._other.pop(mine.key, None)
            self.compared += 1
            if other is None:
                self.different.append(Different(*mine.key, mine.rows, mine.sha256, None, None))
            elif (mine.rows, mine.sha256) != (other.rows, other.sha256):
                self.different.append(Different(*mine.key, mine.rows, mine.sha256, other.rows, other.sha256))

    def end(self) -> None:
        """No more of here: what is left of elsewhere is missing."""
        for other in self._other.values():
            self.different.append(Different(*other.key, None, None, other.rows, other.sha256))
        self.compared += len(self._other)
        self._other = {}
        self.different.sort(key=lambda each: (each.symbol, each.interval, each.day))
