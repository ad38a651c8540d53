"""Figures with their targets: each printed as it is known, and whether all were kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Verdicts:
    """What was judged so far.

    Attributes:
        missed: the figures that were not kept.
    """

    missed: list[str] = field(default_factory=list)

    def at_least(self, what: str, value: float, target: float, unit: str = "") -> None:
        """Print a figure that should not be below its target."""
        self._judge(what, value, f"at least {_text(target)}{unit}", value >= target, unit)

    def at_most(self, what: str, value: float, target: float, unit: str = "") -> None:
        """Print a figure that should not be above its target."""
        self._judge(what, value, f"at most {_text(target)}{unit}", value <= target, unit)

    def failed(self, what: str, why: object) -> None:
        """A figure that could not be had is missed."""
        self.missed.append(what)
        print(f"  {what:68} none: {why}  MISSED", flush=True)

    def _judge(self, what: str, value: float, target: str, kept: bool, unit: str) -> None:
        if not kept:
            self.missed.append(what)
        print(f"  {what:68} {_text(value) + unit:>10}  ({target})  {'kept' if kept else 'MISSED'}", flush=True)


def median(values: Sequence[float]) -> float:
    """The middle one; every figure of several rounds is this."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """All of them, for who wonders how sure the middle one is.

    >>> spread([1.0, 12.0])
    '1.00 12.0'
    """
    return " ".join(_text(value) for value in values)


def _text(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"
