"""The fault script: its schema, and which rule meets which request.

A script is a mapping with `seed` and `rules`; each rule has a `match` (all conditions must hold) and an `action`
(exactly one). `docs/replica.md` lists every key with an example. Unknown keys are refused, so that a misspelt fault
never passes for a fault survived.

Rules meet the exchange's REST paths; those that name a path meet the archive's (`/vision/...`, `/vision-list`) too.
What changes an archive file itself concerns its ZIP and its CHECKSUM alike, both by the ZIP's path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import yaml
from msgspec import UNSET, Meta, UnsetType

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from gapless.errors import ConfigError
from replica.bars import FIELDS
from replica.noise import stream_key, word

SERIES_FIELDS = (
    *("symbol", "fundingTime", "fundingRate", "markPrice", "rateType", "fundingIntervalHours", "timestamp"),
    *("sumOpenInterest", "sumOpenInterestValue", "longShortRatio", "longAccount", "shortAccount"),
    *("buySellRatio", "buyVol", "sellVol", "calc_time", "funding_interval_hours", "last_funding_rate"),
    *("create_time", "sum_open_interest", "sum_open_interest_value", "count_toptrader_long_short_ratio"),
    *("sum_toptrader_long_short_ratio", "count_long_short_ratio", "sum_taker_long_short_vol_ratio"),
)
"""The names in rows of funding and of the five-minute series, on REST and in the archive."""

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
HttpStatus = Annotated[int, Meta(ge=200, le=599)]
Texts = str | list[str]
Time = str | int
"""ISO 8601, or milliseconds."""


def at_ms(time: Time | None) -> int | None:
    """A time of the script in milliseconds."""
    return parse_time(time) if isinstance(time, str) else time


def _checked_time(time: Time) -> None:
    try:
        at_ms(time)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the script: unknown keys are errors."""


class Match(_Strict, frozen=True, rename={"from_": "from"}):
    """Which requests a rule meets. The first group must hold for the request; the second counts those that do.

    Attributes:
        path: a glob over the path, `*/klines`.
        market, symbol, interval: one or several; raw symbols.
        from_, until: half-open span of exchange time.
        after: only requests later than the first `after`.
        nth: only these, counted from 1.
        every: every so-manieth: 3 means the 3rd, 6th, ...
        probability: drawn from the script's seed.
        times: at most so often.
    """

    path: str = "*"
    market: Market | list[Market] | None = None
    symbol: Texts | None = None
    interval: Texts | None = None
    from_: Time | None = None
    until: Time | None = None
    after: Count = 0
    nth: Positive | list[Positive] | None = None
    every: Positive | None = None
    probability: Share = 1.0
    times: Positive | None = None

    def __post_init__(self) -> None:
        self.span_ms()

    def span_ms(self) -> tuple[int | None, int | None]:
        """`from` and `until` in milliseconds."""
        try:
            return at_ms(self.from_), at_ms(self.until)
        except ConfigError as error:
            raise ValueError(str(error)) from None


class Status(_Strict, frozen=True):
    """An HTTP status with the body that the exchange sends with it.

    Attributes:
        code: 429 and 418 carry code -1003, 403 and 451 and 5xx a proxy's HTML page.
        ban_s: with 418, how long the address stays banned (exchange time); later requests get 418 too.
        retry_after: the header: true = as the exchange would, false = never, or so many seconds.
    """

    code: Annotated[int, Meta(ge=400, le=599)]
    ban_s: Positive = 120
    retry_after: bool | Count = True


class Error(_Strict, frozen=True):
    """An error body of the exchange under any status."""

    code: int
    msg: str = "An unknown error occurred while processing the request."
    status: HttpStatus = 400


class Html(_Strict, frozen=True):
    """A page of HTML where JSON is expected."""

    status: HttpStatus = 200


class Reset(_Strict, frozen=True):
    """The connection reset: at once, or after a share of the body (`Content-Length` names the whole)."""

    after: Share = 0.0


class Change(_Strict, frozen=True):
    """A change to rows of klines: set a field, add to it, append a column, or remove one.

    Attributes:
        row: index (negative counts from the end), `all`, or the open time of a bar.
        field: the place by name (see `replica.bars.FIELDS`).
        value: any JSON value to put there.
        add: a number added to what stands there; a string stays a string, with its decimals.
        append: a thirteenth value.
        remove: whether the field is taken out.
    """

    row: int | str = -1
    field: str | None = None
    value: Any = UNSET
    add: int | float | UnsetType = UNSET
    append: Any = UNSET
    remove: bool = False

    def __post_init__(self) -> None:
        changes = sum((self.value is not UNSET, self.add is not UNSET, self.append is not UNSET, self.remove))
        if changes != 1:
            raise ValueError("give exactly one of value, add, append, remove")
        if (self.append is UNSET) != (self.field is not None):
            raise ValueError("name the field to change (append takes none)")
        if self.field is not None and self.field not in (*FIELDS, *SERIES_FIELDS):
            raise ValueError(f"unknown field {self.field!r}: choose from {', '.join((*FIELDS, *SERIES_FIELDS))}")
        if isinstance(self.row, str) and self.row != "all":
            _checked_time(self.row)


class Restated(_Strict, frozen=True):
    """A bar that differs after it was read `after` times: the exchange changed a closed bar."""

    open_time: Time
    field: str
    value: Any
    after: Count = 1

    def __post_init__(self) -> None:
        _checked_time(self.open_time)
        if self.field not in FIELDS:
            raise ValueError(f"unknown field {self.field!r}: choose from {', '.join(FIELDS)}")


class Corrupt(_Strict, frozen=True):
    """Bytes of an archive file flipped, in the middle of its compressed data.

    Attributes:
        bytes: how many.
        checksum: whether the CHECKSUM is that of the flipped file (`right`) or of the sound one (`wrong`).
    """

    bytes: Positive = 1
    checksum: Literal["right", "wrong"] = "wrong"


class Replaced(_Strict, frozen=True):
    """An archive file that has another content, etag and checksum once it was read `after` times.

    ZIP and CHECKSUM are counted apart, so that both of one visit are of one content; once one of them was served new,
    the other is new as well.

    Attributes:
        alter: what is different; by default the last value that counts something is one more in the last row.
    """

    after: Count = 1
    alter: Change | list[Change] | None = None


class Action(_Strict, frozen=True):
    """What a rule does: exactly one of these.

    `status`, `error`, `html`, `hang`, `reset` end the matter: later rules do nothing. The others shape the answer, each
    on top of the rules before it. Those from `missing` on exist for archive files alone.
    """

    status: Status | Annotated[int, Meta(ge=400, le=599)] | None = None
    error: Error | int | None = None
    html: Html | bool | None = None
    half_json: bool | Share | None = None
    delay_ms: Annotated[int, Meta(ge=1, le=600_000)] | None = None
    hang: bool | Annotated[float, Meta(gt=0, le=600)] | None = None
    reset: Reset | bool | None = None
    drop_rows: int | list[int] | None = None
    duplicate_rows: int | list[int] | None = None
    shuffle_rows: bool | None = None
    alter: Change | list[Change] | None = None
    restated: Restated | None = None
    clock_skew_ms: int | None = None
    truncated: bool | Share | None = None
    slow_bytes_per_s: Positive | None = None
    stale_list: Time | None = None
    missing: bool | Literal["both", "zip", "checksum"] | None = None
    corrupt: Corrupt | bool | None = None
    wrong_checksum: bool | str | None = None
    drop_days: str | list[str] | None = None
    header: Literal["on", "off"] | None = None
    unit: Literal["ms", "us"] | None = None
    replaced: Replaced | bool | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            raise ValueError(f"give exactly one action, not {', '.join(given) or 'none'}")
        for day in _listed(self.drop_days or []):
            _checked_time(day)
        if self.stale_list is not None:
            _checked_time(self.stale_list)

    @property
    def name(self) -> str:
        """Which one it is."""
        return self._given()[0]

    @property
    def ends(self) -> bool:
        """Whether later rules have no say any more."""
        return self.name in ("status", "error", "html", "hang", "reset")

    @property
    def concerns_listing(self) -> bool:
        """Whether it can befall the archive's listing."""
        kept = ("half_json", "truncated", "delay_ms", "slow_bytes_per_s", "stale_list")
        return self.ends or self.name in kept

    def _given(self) -> list[str]:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return [name for name, value in values.items() if value is not None and value is not False]


CONTENT_ACTIONS = frozenset(
    {"drop_rows", "duplicate_rows", "shuffle_rows", "alter", "missing", "corrupt", "wrong_checksum"}
    | {"drop_days", "header", "unit", "replaced"}
)
"""What changes an archive file itself, whoever reads it, rather than one answer."""


class Rule(_Strict, frozen=True):
    """A condition and what happens under it."""

    action: Action
    match: Match = Match()
    name: str = ""


class Script(_Strict, frozen=True):
    """A whole fault script."""

    rules: list[Rule] = []
    seed: int = 0


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
        if match.nth is not None and tally.seen not in _listed(match.nth):
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
    """A script from a YAML or JSON file.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or breaks the schema.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the fault script {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"fault script {path} is not YAML or JSON: {' '.join(str(error).split())}") from None
    return parse_script(content, str(path))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
    if any(legal is not None and value not in _listed(legal) for value, legal in wanted):
        return False
    start_ms, end_ms = match.span_ms()
    return (start_ms is None or start_ms <= occasion.now_ms) and (end_ms is None or occasion.now_ms < end_ms)
