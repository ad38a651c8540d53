"""Kline rows one at a time: the patient reading behind `payloads`, exact or rejected with a reason.

A row is a JSON array of twelve values in the order of `FIELDS`. Prices and quantities are JSON strings, times and
counts JSON numbers; the other form is understood too, because the text of a value is the same in both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation

import msgspec

FIELDS = (
    "ts",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
"""The columns of a kline row, in the exchange's order. The last one carries nothing and is not kept."""

PRICES = ("open", "high", "low", "close")
VOLUMES = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
TIMES = ("ts", "close_time")

SCALE = 8
WHOLE_DIGITS = {**dict.fromkeys(PRICES, 12), **dict.fromkeys(VOLUMES, 20)}
"""Digits before the point that DECIMAL(20,8) and DECIMAL(28,8) hold."""

MAX_TRADES = 2**32 - 1
END_OF_TIME_MS = 253_402_300_800_000
"""The first moment of the year 10000: no column or clock here holds more. A time in microseconds lies beyond it."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,99})", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_ZERO = Decimal(0)
_QUANTUM = Decimal(1).scaleb(-SCALE)
_EXACT = Context(prec=WHOLE_DIGITS["volume"] + SCALE, Emin=-999_999, Emax=999_999, traps=[Inexact, InvalidOperation])

Value = int | Decimal


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that could not be taken, as it came.

    Attributes:
        ts: its open time in ms where that could be read, else None.
        reason: `json` (the payload is not a JSON array), `columns` (not twelve), `type` (not a number where one
            belongs), `time` (not a moment in ms from 1970 to 9999), `precision` (its column cannot hold it exactly).
        raw: the row's text as received; for `json` the whole payload.
    """

    symbol: str
    interval: str
    ts: int | None
    reason: str
    raw: str


class RowRejected(Exception):
    """Why one row cannot be taken; never leaves this package."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def split_rows(body: bytes) -> list[bytes] | None:
    """The rows of a payload, each as its own JSON text; None when the body is not a JSON array."""
    try:
        return [bytes(row) for row in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except msgspec.DecodeError:
        return None


def read_row(row: bytes) -> tuple[Value, ...]:
    """The first eleven values of one row, exact.

    Raises:
        RowRejected: with the reason, see `Rejected`.
    """
    texts = _texts(row)
    return tuple(read_value(name, text) for name, text in zip(FIELDS[:-1], texts, strict=True))


def read_value(name: str, text: str) -> Value:
    """One value from its text, exact: an integer for times (ms) and `trades`, else a decimal of scale 8.

    Raises:
        RowRejected: with the reason, see `Rejected`.
    """
    if name in WHOLE_DIGITS:
        return _decimal(text, WHOLE_DIGITS[name])
    if not _INTEGER.fullmatch(text):
        raise RowRejected("type")
    number = int(text)
    if name in TIMES and not 0 <= number < END_OF_TIME_MS:
        raise RowRejected("time")
    if name == "trades" and not 0 <= number <= MAX_TRADES:
        raise RowRejected("precision")
    return number


def readable(row: bytes) -> bool:
    """Whether `read_row` takes the row."""
    try:
        read_row(row)
    except RowRejected:
        return False
    return True


def open_time(row: bytes) -> int | None:
    """The open time of a row that may be broken elsewhere, for the books; None when it cannot be read."""
    try:
        first = msgspec.json.decode(row, type=list[msgspec.Raw])[0]
        value = read_value("ts", _text(first))
    except (msgspec.DecodeError, IndexError, RowRejected):
        return None
    return int(value)


def _texts(row: bytes) -> list[str]:
    try:
        values = msgspec.json.decode(row, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise RowRejected("type") from None
    if len(values) != len(FIELDS):
        raise RowRejected("columns")
    return [_text(value) for value in values[:-1]]


def _text(value: msgspec.Raw) -> str:
    """A scalar's text: of a string its content, of a number its digits as sent."""
    try:
        text = bytes(value).decode()
        return msgspec.json.decode(value, type=str) if text.startswith('"') else text
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RowRejected("type") from None


def _decimal(text: str, whole_digits: int) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise RowRejected("type")
    number = Decimal(text)
    if not number:
        return _ZERO
    if number.adjusted() >= whole_digits:
        raise RowRejected("precision")
    try:
        return number.quantize(_QUANTUM, context=_EXACT)
    except DecimalException:
        raise RowRejected("precision") from None
