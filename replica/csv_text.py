"""Bars as the archive's CSV text, made from integer columns without a loop over rows.

Every value is written into a matrix of bytes, one line a row, right-aligned in its place; what a shorter value leaves
over is masked out. A month of minutes takes some tens of milliseconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replica.bars import Bars, Scale
from replica.noise import Ints

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Place = tuple[Bytes, Mask | None]

_FOUR = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), dtype=np.uint32)
_ZERO, _POINT, _COMMA = b"0", b".", b","


def kline_csv(bars: Bars, interval_ms: int, scale: Scale, *, micros: bool = False) -> bytes:
    """Lines of twelve places without a header, each ended by a newline.

    Args:
        micros: times in microseconds, the close time one microsecond before the next open (spot from 2025 on).
    """
    if not len(bars):
        return b""
    unit = 1000 if micros else 1
    opens = bars.open_ms * unit
    prices = [_decimal(column, scale.price, scale) for column in (bars.open, bars.high, bars.low, bars.close)]
    fields = [
        _integer(opens),
        *prices,
        _decimal(bars.volume, scale.quantity, scale),
        _integer(opens + interval_ms * unit - 1),
        _decimal(bars.quote_volume, scale.quote, scale),
        _integer(bars.trades),
        _decimal(bars.taker_volume, scale.quantity, scale),
        _decimal(bars.taker_quote_volume, scale.quote, scale),
    ]
    comma = _constant(_COMMA)
    places = [place for field in fields for place in (*field, comma)]
    return _joined(len(bars), [*places, _constant(b"0\n")])


def _joined(count: int, places: list[Place]) -> bytes:
    width = sum(place.shape[1] for place, _ in places)
    matrix = np.empty((count, width), dtype=np.uint8)
    kept = np.ones((count, width), dtype=np.bool_)
    at = 0
    for place, mask in places:
        end = at + place.shape[1]
        matrix[:, at:end] = place
        if mask is not None:
            kept[:, at:end] = mask
        at = end
    return matrix[kept].tobytes()


def _constant(text: bytes) -> Place:
    return np.frombuffer(text, dtype=np.uint8).reshape(1, -1), None


def _digits(values: Ints, width: int) -> Bytes:
    """The last `width` decimal digits of each value, zeros in front."""
    groups = -(-width // 4)
    out = np.empty((len(values), groups), dtype=np.uint32)
    rest = values
    for group in range(groups - 1, -1, -1):
        higher = rest // 10_000
        out[:, group] = _FOUR[rest - higher * 10_000]
        rest = higher
    return out.view(np.uint8)[:, groups * 4 - width :]


def _integer(values: Ints) -> list[Place]:
    shortest, longest = (len(str(int(edge))) for edge in (values.min(), values.max()))
    digits = _digits(values, longest)
    if shortest == longest:
        return [(digits, None)]
    mask = np.ones(digits.shape, dtype=np.bool_)
    for place in range(longest - 1):
        mask[:, place] = values >= 10 ** (longest - 1 - place)
    return [(digits, mask)]


def _decimal(values: Ints, decimals: int, scale: Scale) -> list[Place]:
    unit = 10**decimals
    whole = values // unit
    tail = [_constant(_POINT)] if decimals or scale.pad else []
    if decimals:
        tail.append((_digits(values - whole * unit, decimals), None))
    if scale.pad > decimals:
        tail.append(_constant(_ZERO * (scale.pad - decimals)))
    if scale.bare_zero and tail:
        tail = [(place, (values != 0)[:, np.newaxis]) for place, _ in tail]
    return [*_integer(whole), *tail]
