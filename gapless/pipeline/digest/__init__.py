"""Content digests of what is stored, so that two installations can be compared line by line.

`run_digest(rt, DigestRequest(start_ms=..., end_ms=...))` gives them as they are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.receipts import Failure
from gapless.errors import ConfigError
from gapless.pipeline.digest.compare import Comparison, DigestFile, read_digests
from gapless.pipeline.digest.report import DayDigest, Different, DigestRequest
from gapless.pipeline.digest.rows import digest_months
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stored import chosen_symbols, stored_months, unstored

__all__ = [
    "Comparison",
    "DayDigest",
    "Different",
    "DigestFile",
    "DigestRequest",
    "DigestRun",
    "read_digests",
    "run_digest",
]


@dataclass(frozen=True, slots=True)
class DigestRun:
    """A digest under way.

    Attributes:
        chosen: the symbols that were named; None: all that is stored.
        months: the digests of one month after another, each by symbol, interval and day; made when they are taken.
        errors: names that mean nothing.
    """

    chosen: frozenset[str] | None
    months: Iterator[list[DayDigest]]
    errors: tuple[Failure, ...]


def run_digest(rt: Runtime, request: DigestRequest) -> DigestRun:
    """The content digests of the stored rows of a window, MySQL and lake as one: where both hold a row, MySQL's counts.

    Raises:
        ConfigError: a raw symbol without a market, or a market without the dataset.
        StorageError: MySQL is away; while months are taken: a store is away, or an object of the lake is damaged.
    """
    if request.dataset is not Dataset.OHLCV and request.market is Market.SPOT:
        raise ConfigError(f"{request.dataset} exists for perpetuals alone: leave --market out, or say um")
    chosen, unknown = chosen_symbols(rt, request.symbols, request.market)
    months = stored_months(
        rt, request.dataset, request.window, symbols=chosen, market=request.market, intervals=request.intervals
    )
    errors = (*unknown, *unstored(request.symbols, chosen, months, rt))
    return DigestRun(chosen, digest_months(rt, request, months), errors)
