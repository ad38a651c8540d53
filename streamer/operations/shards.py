"""Which instruments this process takes of those that several share. Pure: they agree without ever speaking."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from gapless.domain.instrument import Instrument, Market
from gapless.errors import ConfigError

_TEXT = re.compile(r"(\d{1,4})/(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One share of the instruments: number `number`, counted from 0, of `of` equal ones."""

    number: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, market: Market, raw_symbol: str) -> bool:
        """Whether an instrument is this shard's. Of any number of shards exactly one says yes.

        By a hash of its name alone, the same in every process, on every host and in every version.
        """
        digest = blake2b(f"{market}:{raw_symbol}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number

    def share(self, instruments: Iterable[Instrument]) -> list[Instrument]:
        """Those that are this shard's, in their order."""
        return [each for each in instruments if self.takes(each.market, each.raw_symbol)]


def parse_shard(text: str) -> Shard:
    """`0/4`: the first of four.

    Raises:
        ConfigError: not that form, or there is no such share.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or not int(match[1]) < int(match[2]):
        raise ConfigError(f"--shard {text}: write 0/4 for the first of four, up to 3/4 for the last")
    return Shard(int(match[1]), int(match[2]))
