"""What the daily rules say: findings in words, counted all and listed some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from gapless.domain.window import iso

HOLE, CONTINUITY, JUMP = "hole", "continuity", "jump"
AGREEMENT, DIVERGENCE, ACTIVITY = "agreement", "divergence", "activity"
RULES = (HOLE, CONTINUITY, JUMP, AGREEMENT, DIVERGENCE, ACTIVITY)
"""The names of the rules. They are stored and never change meaning."""

CRITICAL, WARNING, REVIEW = "critical", "warning", "review"
SEVERITIES = (CRITICAL, WARNING, REVIEW)
"""`critical`: the store is wrong. `warning`: somebody should know. `review`: a person is asked."""

LISTED = 1_000
"""How many findings are listed; the rest is counted."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that a rule found.

    Attributes:
        rule: one of `RULES`. severity: one of `SEVERITIES`.
        interval: of the bars concerned.
        ts: open time of the bar concerned, or of the first of them, ISO 8601.
        measured, allowed: what is, and what would have passed.
        text: the same in a line that needs nothing else beside it: which bar, and what is the matter.
    """

    rule: str
    severity: str
    symbol: str
    interval: str
    ts: str
    measured: str
    allowed: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule found in some bars.

    Attributes:
        findings: the gravest; at most as many as were asked for.
        counts: how many there are, by severity.
    """

    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def finding(
    rule: str, severity: str, symbol: str, interval: str, at_ms: int, measured: str, allowed: str, sentence: str
) -> Finding:
    """A finding of the bar that opens at `at_ms`; its text says so before the sentence."""
    at = iso(at_ms)
    return Finding(rule, severity, symbol, interval, at, measured, allowed, f"{symbol} {interval} {at}: {sentence}")


def verdict(findings: Iterable[Finding]) -> Verdict:
    """A verdict that lists all it counts."""
    listed = tuple(findings)
    return Verdict(listed, Counter(each.severity for each in listed))


class Findings:
    """Verdicts added up: every finding counted, the gravest listed, however many there are.

    Args:
        listed: how many are listed.
    """

    def __init__(self, listed: int = LISTED) -> None:
        self._limit = listed
        self._kept: list[Finding] = []
        self.by_rule: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.by_severity: Counter[str] = Counter(dict.fromkeys(SEVERITIES, 0))

    def add(self, rule: str, found: Verdict) -> None:
        """Take in what a rule says of some bars."""
        self.by_rule[rule] += sum(found.counts.values())
        self.by_severity.update(found.counts)
        self._keep(found.findings)

    def merge(self, others: Findings) -> None:
        """Take in what was found elsewhere."""
        self.by_rule.update(others.by_rule)
        self.by_severity.update(others.by_severity)
        self._keep(others.listed())

    def listed(self) -> tuple[Finding, ...]:
        """The gravest first, then by rule, symbol, interval and time."""
        return tuple(self._gravest())

    def _keep(self, findings: Iterable[Finding]) -> None:
        self._kept += findings
        if len(self._kept) > 2 * self._limit:
            self._kept = self._gravest()

    def _gravest(self) -> list[Finding]:
        order = {severity: place for place, severity in enumerate(SEVERITIES)}
        kept = sorted(self._kept, key=lambda f: (order[f.severity], f.rule, f.symbol, f.interval, f.ts))
        return kept[: self._limit]


def share_text(share: float) -> str:
    """A share in per cent, three digits: `0.834 %`, `1,200 %`."""
    value = 100 * share
    return f"{value:,.0f} %" if abs(value) >= 1000 else f"{value:.3g} %"


def number_text(number: Decimal | int) -> str:
    """A stored number without its trailing zeros: `0.1231`."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
