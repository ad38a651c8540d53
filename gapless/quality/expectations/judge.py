"""From what Great Expectations answered to what is true of a table. Pure.

A check that raised is told from data that are bad, and a check that was never done from one that found nothing: Great
Expectations calls both of the first a failure, and leaves the last out of a result that still says success.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapless.quality.expectations.report import RuleFailure, State, SuiteResult
from gapless.quality.expectations.rules import Rows, Suite, label_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one check.

    Attributes:
        rule: the name of its rule.
        holds: whether the rule does.
        unexpected: how many rows break it.
        sample: the first of them, in words.
        raised: why the check could not be done; empty when it could.
    """

    rule: str
    holds: bool
    unexpected: int = 0
    sample: tuple[str, ...] = field(default=())
    raised: str = ""


def judge(suite: Suite, rows: int, answers: Sequence[Answer]) -> SuiteResult:
    """A suite's result: broken when any of its checks could not be done, dirty when a critical rule does not hold.

    Args:
        rows: how many rows were checked.
        answers: in any order; those of rules that the suite does not have, or has once and were answered twice, make it
            broken too.
    """
    asked = {rule.name: rule for rule in suite}
    counted = Counter(answer.rule for answer in answers)
    broken = [f"{answer.rule}: {answer.raised}" for answer in answers if answer.raised]
    broken += [f"{name}: was not evaluated; its class is unknown to Great Expectations" for name in asked
               if not counted[name]]  # fmt: skip
    broken += [f"{name}: answered, and no rule of the suite" for name in counted if name not in asked]
    broken += [f"{name}: answered {times} times" for name, times in counted.items() if name in asked and times > 1]
    failures = [
        _failure(suite, rows, answer)
        for answer in answers
        if answer.rule in asked and not answer.raised and not answer.holds
    ]
    failures.sort(key=lambda failure: failure.severity != "critical")
    state: State = "clean"
    if broken:
        state = "broken"
    elif any(failure.severity == "critical" for failure in failures):
        state = "dirty"
    evaluated = sum(not answer.raised for answer in answers if answer.rule in asked)
    return SuiteResult(
        name=suite.name,
        table=suite.table,
        rows=rows,
        evaluated=evaluated,
        expected=len(suite.rules),
        state=state,
        failures=tuple(failures),
        broken=tuple(broken),
    )


def why_raised(exception_info: Mapping[str, Any] | None) -> str:
    """The reason of a check that raised, on one line; empty when it did not.

    Great Expectations gives it flat, or once for each metric that the check needed.
    """
    if not exception_info:
        return ""
    parts = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    for part in parts:
        if isinstance(part, Mapping) and part.get("raised_exception"):
            message = str(part.get("exception_message") or "the check raised, and does not say why")
            return " ".join(message.split())[:600]
    return ""


def _failure(suite: Suite, rows: int, answer: Answer) -> RuleFailure:
    rule = suite.rule(answer.rule)
    by_row = isinstance(rule, Rows)
    count = f"{answer.unexpected:,} of {rows:,} rows" if by_row else ""
    if isinstance(rule, Rows) and rule.label is not None:
        count = f"{answer.unexpected:,} found"  # symbols, receipts: not to be set against the number of rows
    said = "; ".join(filter(None, (f"{rule.text}: not so", count, *answer.sample[:1])))
    return RuleFailure(
        rule=rule.name,
        severity=rule.severity,
        column=", ".join(label_of(suite, rule)) if isinstance(rule, Rows) else "",
        unexpected=answer.unexpected,
        total=rows,
        sample=answer.sample,
        text=said,
        means=rule.text,
    )
