"""The fault script at work: which rule meets which request, and how often each did.

Rules meet the exchange's REST paths; those that name a path meet the archive's (`/vision/...`, `/vision-list`) too.
What changes an archive file itself concerns its ZIP and its CHECKSUM alike, both by the ZIP's path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.fault_schema import CONTENT_ACTIONS, Action, Rule, Script, listed
from replica.noise import stream_key, word


@dataclass(frozen=True, slots=True)
class Occasion:
    """A request, as far as rules look at it.

    Attributes:
        part: of the archive: `zip`, `CHECKSUM`, `HEAD` or `list`; empty for REST.
        file: of an archive file: the path of its ZIP.
    """

    path: str
    market: Market | None
    symbol: str
    interval: str
    now_ms: int
    part: str = ""
    file: str = ""


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    applied: int = 0


@dataclass(slots=True)
class FaultScript:
    """A script at work, with its counts."""

    script: Script = field(default_factory=Script)
    tallies: list[_Tally] = field(init=False)
    reads: dict[tuple[int, Market | None, str, str], int] = field(default_factory=dict)
    _parts: dict[tuple[int, str], _Tally] = field(default_factory=dict)
    _visits: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    _switched: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tallies = [_Tally() for _ in self.script.rules]

    def meeting(self, occasion: Occasion) -> Iterator[tuple[int, Action]]:
        """The actions that meet a request, in order, each with its rule's number. Counts the request for every rule it
        concerns, also behind an action that ends the matter; the caller stops acting there."""
        for number, rule in enumerate(self.script.rules):
            if not _concerns(rule, occasion):
                continue
            tally = self._tally(number, occasion.part)
            tally.seen += 1
            if self._due(number, rule, tally, occasion):
                yield number, rule.action

    def applied(self, number: int, part: str = "") -> None:
        """Notes that a rule took effect."""
        self._tally(number, part).applied += 1

    def not_applied(self, number: int, part: str) -> None:
        """Takes that back: it had nothing to change."""
        self._tally(number, part).applied -= 1

    def is_replaced(self, number: int, occasion: Occasion, after: int) -> bool:
        """Counts one more reading of an archive file's part, and says whether it is the new content that is read."""
        file = (number, occasion.file)
        visit = (*file, occasion.part)
        if self._visits[visit] >= after:
            self._switched.add(file)
        if occasion.part != "HEAD":
            self._visits[visit] += 1
        return file in self._switched

    def file_key(self, number: int, file: str) -> np.uint64:
        """The random stream of a rule for one archive file, the same in every run and for every reader."""
        return stream_key(str(self.script.seed), "vision", str(number), file)

    def draw(self, number: int) -> int:
        """A 64-bit random word for the present request under a rule, the same in every run."""
        return word(stream_key(str(self.script.seed), "fault", str(number)), self.tallies[number].seen)

    def read(self, number: int, market: Market | None, symbol: str, interval: str) -> int:
        """Counts one more reading of a rule's bar in a series; how many there were before."""
        key = (number, market, symbol, interval)
        before = self.reads.get(key, 0)
        self.reads[key] = before + 1
        return before

    def report(self) -> list[dict[str, Any]]:
        """For each rule: its name, action, how many requests it concerned and how many it changed."""
        return [
            {"name": rule.name, "action": rule.action.name, "seen": tally.seen, "applied": tally.applied}
            for rule, tally in zip(self.script.rules, self.tallies, strict=True)
        ]

    def _tally(self, number: int, part: str) -> _Tally:
        """The counts of a rule. What changes an archive file counts its ZIP's readers, those of the CHECKSUM apart."""
        if part in ("CHECKSUM", "HEAD") and self.script.rules[number].action.name in CONTENT_ACTIONS:
            return self._parts.setdefault((number, part), _Tally())
        return self.tallies[number]

    def _due(self, number: int, rule: Rule, tally: _Tally, occasion: Occasion) -> bool:
        match = rule.match
        if match.times is not None and tally.applied >= match.times:
            return False
        if tally.seen <= match.after or (match.every is not None and tally.seen % match.every):
            return False
        if match.nth is not None and tally.seen not in listed(match.nth):
            return False
        if match.probability >= 1:
            return True
        of_file = occasion.file and rule.action.name in CONTENT_ACTIONS  # a share of the files, not of the readings
        drawn = word(self.file_key(number, occasion.file), 0) if of_file else self.draw(number)
        return drawn / 2**64 < match.probability


def parse_script(content: Any, where: str) -> FaultScript:
    """A script from decoded YAML or JSON.

    Raises:
        ConfigError: it breaks the schema; the message names `where` and the place.
    """
    try:
        return FaultScript(msgspec.convert({} if content is None else content, Script))
    except msgspec.ValidationError as error:
        raise ConfigError(f"fault script {where}: {error}") from None


def load_script(path: Path) -> FaultScript:
    """A script from a YAML or JSON file; what it has under `live` is the live side's.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or breaks the schema.
    """
    content = read_script(path)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key != "live"}
    return parse_script(content, str(path))


def read_script(path: Path) -> Any:
    """What a YAML or JSON file holds.

    Raises:
        ConfigError: it cannot be read, or is neither.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the fault script {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"fault script {path} is not YAML or JSON: {' '.join(str(error).split())}") from None


def _concerns(rule: Rule, occasion: Occasion) -> bool:
    match = rule.match
    if occasion.part and match.path == "*":
        return False
    of_file = occasion.file and rule.action.name in CONTENT_ACTIONS
    wanted = (
        (occasion.market, match.market),
        (occasion.symbol, match.symbol),
        (occasion.interval, match.interval),
    )
    if not fnmatchcase(occasion.file if of_file else occasion.path, match.path):
        return False
    if any(legal is not None and value not in listed(legal) for value, legal in wanted):
        return False
    start_ms, end_ms = match.span_ms()
    return (start_ms is None or start_ms <= occasion.now_ms) and (end_ms is None or occasion.now_ms < end_ms)
