"""Python values of payloads -> Arrow columns that hold them exactly, or a refusal that says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

END_OF_TIME_MS = 253_402_300_800_000
"""The first moment of the year 10000: no column or clock here holds more. A time in microseconds lies beyond it."""

_DECIMAL = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?", re.ASCII)
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])


class ColumnRefused(Exception):
    """A value of a column cannot be taken; never leaves this package.

    Attributes:
        reason: `type`, `time` or `precision` (and what else callers find: `symbol`, `fields`).
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def exact_column(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of values as they are in payloads: decimals as text, times in ms as integers; None stays null.

    Raises:
        ColumnRefused: one of them does not fit.
    """
    if pa.types.is_decimal(kind):
        return _decimals(name, values, kind)
    try:
        if pa.types.is_timestamp(kind):
            column = pa.array(values, pa.int64())
            bounds = pc.min_max(column).as_py()
            if bounds["min"] is not None and not 0 <= bounds["min"] <= bounds["max"] < END_OF_TIME_MS:
                raise ColumnRefused("time", f"{name} is no moment in ms: {bounds['min']} to {bounds['max']}")
            return column.cast(kind)
        return pa.array(values, kind)
    except (OverflowError, pa.ArrowInvalid) as error:
        raise ColumnRefused("precision", f"{name}: {error}") from None


def _decimals(name: str, values: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    texts = pa.array(values, pa.string())
    whole = kind.precision - kind.scale
    # Arrow lets a short text such as `1234567890123` through into a (20,8) column, hence the pattern.
    plain = pc.match_substring_regex(texts, rf"\A-?[0-9]{{1,{whole}}}(?:\.[0-9]{{1,{kind.scale}}})?\z")
    if pc.all(plain, min_count=0).as_py():
        return texts.cast(kind)
    return pa.array([None if text is None else _exact(name, text, kind) for text in values], kind)


def _exact(name: str, text: str, kind: pa.DataType) -> Decimal:
    """Zeros beyond the scale are no loss; digits are."""
    if not _DECIMAL.fullmatch(text):
        raise ColumnRefused("type", f"{name} is no number: {text[:60]!r}")
    try:
        number = Decimal(text).quantize(Decimal(1).scaleb(-kind.scale), context=_EXACT)
    except DecimalException:
        raise ColumnRefused("precision", f"{name} {text[:60]} does not fit {kind} exactly") from None
    if number and number.adjusted() >= kind.precision - kind.scale:
        raise ColumnRefused("precision", f"{name} {text[:60]} does not fit {kind} exactly")
    return number
