"""Great Expectations' part of the daily check: what every table must hold of a day, and the judgement of the answers.

`SUITES` are the rules as values, `judge` is pure, and `engine` and `checks` alone know Great Expectations, whose import
takes seconds: they are imported inside a run.
"""

from gapless.quality.expectations.books import BOOKS
from gapless.quality.expectations.judge import Answer, judge
from gapless.quality.expectations.ledgers import LEDGERS
from gapless.quality.expectations.report import ExpectationsReport, RuleFailure, SuiteResult, worst
from gapless.quality.expectations.rules import Suite
from gapless.quality.expectations.series import SERIES

SUITES: tuple[Suite, ...] = (*SERIES, *LEDGERS, *BOOKS)
"""A suite for every table."""

__all__ = ["SUITES", "Answer", "ExpectationsReport", "RuleFailure", "Suite", "SuiteResult", "judge", "worst"]
