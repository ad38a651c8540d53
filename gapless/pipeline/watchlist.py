"""The instruments that the scheduled pipelines take: `include/symbols.yaml`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval, parse_intervals
from gapless.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Watchlist:
    """What is taken every hour.

    Attributes:
        symbols: per market a specification as on the command line: a comma-separated list, `all`, or `all:USDT`.
        intervals: the bar intervals, shortest first.
    """

    symbols: dict[Market, str]
    intervals: tuple[Interval, ...]


def read_watchlist(path: Path) -> Watchlist:
    """The watchlist in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or holds something else; the message names the file and the place.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; GAPLESS_SYMBOLS_FILE names the list of instruments") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not isinstance(document.get("markets"), dict) or not document["markets"]:
        raise ConfigError(f"{path}: needs `markets:` with spot and/or um, each a list of symbols or all:USDT")
    unknown = sorted(set(document) - {"markets", "intervals"})
    if unknown:
        raise ConfigError(f"{path}: unknown key {', '.join(map(str, unknown))}; known are markets and intervals")
    symbols = {_market(path, name): _specification(path, name, value) for name, value in document["markets"].items()}
    intervals = document.get("intervals", "all")
    text = ",".join(map(str, intervals)) if isinstance(intervals, list) else str(intervals)
    try:
        return Watchlist(symbols, parse_intervals(text))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _market(path: Path, name: Any) -> Market:
    if name not in [*Market]:
        raise ConfigError(f"{path}: unknown market {name!r}; known are {', '.join(Market)}")
    return Market(name)


def _specification(path: Path, market: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, list) and value and all(isinstance(symbol, str) and symbol.strip() for symbol in value):
        return ",".join(symbol.strip() for symbol in value)
    raise ConfigError(f"{path}: markets.{market} must be a list of symbols, or all, or all:USDT")
