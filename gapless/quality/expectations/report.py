"""What a run of the suites says: plain values, JSON by msgspec."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["clean", "dirty", "broken"]
"""`clean`: every critical rule holds; `dirty`: one does not; `broken`: a check could not be done, so nobody knows."""


class RuleFailure(msgspec.Struct, frozen=True):
    """A rule that does not hold.

    Attributes:
        rule: its name; means: what it says, for a reader.
        column: the columns that name a row of it.
        unexpected: how many rows (symbols, receipts: whatever `column` names) break it. total: how many rows were
            checked.
        sample: the first of them, what is wrong with each in words.
        text: all of it in one line: the rule, how many break it, and the first of them.
    """

    rule: str
    severity: str
    column: str
    unexpected: int
    total: int
    sample: tuple[str, ...]
    text: str
    means: str


class SuiteResult(msgspec.Struct, frozen=True):
    """A table's suite.

    Attributes:
        rows: how many rows of the table were checked.
        evaluated: rules that were. expected: rules that the suite has.
        failures: rules that do not hold, critical ones first.
        broken: checks that could not be done, each with the reason: nothing is known of their rules.
    """

    name: str
    table: str
    rows: int
    evaluated: int
    expected: int
    state: State
    failures: tuple[RuleFailure, ...] = ()
    broken: tuple[str, ...] = ()


class ExpectationsReport(msgspec.Struct, frozen=True):
    """All suites over a day.

    Attributes:
        day: `2026-11-20`, UTC.
        report_key: where the report and Great Expectations' own results lie in the lake.
        docs: the path of the run's page among the data docs, empty where none could be built (`docs_failure` says why).
        run_id, link: the run that did it, and where a person can look at it.
    """

    day: str
    state: State
    suites: tuple[SuiteResult, ...]
    report_key: str
    docs: str
    seconds: float
    run_id: str = ""
    link: str = ""
    docs_failure: str = ""

    @property
    def warnings(self) -> int:
        """Rules of lesser severity that do not hold."""
        return sum(failure.severity == "warning" for suite in self.suites for failure in suite.failures)


def worst(states: tuple[State, ...]) -> State:
    """`broken` before `dirty` before `clean`."""
    if "broken" in states:
        return "broken"
    return "dirty" if "dirty" in states else "clean"
