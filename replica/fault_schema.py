"""The fault script's schema: `seed` and `rules`; each rule has a `match` (all conditions must hold) and an
`action` (exactly one). `docs/replica.md` lists every key with an example. Unknown keys are refused, so that a misspelt
fault never passes for a fault survived.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from gapless.errors import ConfigError
from replica.bars import FIELDS

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


def listed(value: Any) -> list[Any]:
    """One or several, as a list."""
    return value if isinstance(value, list) else [value]


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
        for day in listed(self.drop_days or []):
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
