"""The judgement of answers: clean, data bad and check broken are three things."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.quality.expectations import Answer, judge, worst
from gapless.quality.expectations.judge import why_raised
from gapless.quality.expectations.rules import Rows, Severity, Suite


def rule(name: str, severity: Severity = "critical") -> Rows:
    return Rows(name, f"{name} holds", "a > 1", "{a} is more", severity=severity)


SUITE = Suite("s", "t", "T", "all", ("k",), (rule("one"), rule("two"), rule("soft", "warning")))
HOLDING = tuple(Answer(each.name, holds=True) for each in SUITE)


def test_every_rule_that_holds_is_clean() -> None:
    found = judge(SUITE, 10, HOLDING)
    assert (found.state, found.evaluated, found.expected, found.failures, found.broken) == ("clean", 3, 3, (), ())


def test_a_critical_rule_makes_it_dirty_and_a_warning_does_not() -> None:
    soft = judge(SUITE, 10, (*HOLDING[:2], Answer("soft", holds=False, unexpected=2, sample=("k: 3 is more",))))
    assert (soft.state, soft.evaluated) == ("clean", 3)
    (failure,) = soft.failures
    assert (failure.severity, failure.unexpected, failure.total, failure.column) == ("warning", 2, 10, "k")
    assert failure.text == "soft holds: not so; 2 of 10 rows; k: 3 is more"
    hard = judge(SUITE, 10, (Answer("one", holds=False, unexpected=1), *HOLDING[1:]))
    assert hard.state == "dirty"


def test_critical_failures_come_first() -> None:
    found = judge(SUITE, 10, (Answer("soft", holds=False), Answer("two", holds=False), HOLDING[0]))
    assert [each.rule for each in found.failures] == ["two", "soft"]


def test_a_check_that_raised_is_broken_even_where_data_are_bad() -> None:
    found = judge(
        SUITE, 10, (Answer("one", holds=False, raised="no such column"), Answer("two", holds=False), HOLDING[2])
    )
    assert (found.state, found.evaluated) == ("broken", 2)
    assert found.broken == ("one: no such column",)
    assert [each.rule for each in found.failures] == ["two"]


def test_a_check_that_was_left_out_is_broken_though_all_the_others_hold() -> None:
    found = judge(SUITE, 10, HOLDING[:2])
    assert (found.state, found.evaluated, found.expected) == ("broken", 2, 3)
    assert found.broken == ("soft: was not evaluated; its class is unknown to Great Expectations",)


def test_an_answer_that_nobody_asked_for_or_that_came_twice_is_broken() -> None:
    assert judge(SUITE, 1, (*HOLDING, Answer("other", holds=True))).broken == (
        "other: answered, and no rule of the suite",
    )
    assert judge(SUITE, 1, (*HOLDING, HOLDING[0])).broken == ("one: answered 2 times",)


@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "two", "soft", "other"]), st.booleans(), st.sampled_from(["", "raised"])),
        max_size=6,
    )
)
def test_nothing_is_clean_unless_every_rule_was_answered_once_and_every_critical_one_holds(
    told: list[tuple[str, bool, str]],
) -> None:
    found = judge(SUITE, 5, [Answer(name, holds=holds and not raised, raised=raised) for name, holds, raised in told])
    whole = sorted(name for name, _, _ in told) == ["one", "soft", "two"] and not any(raised for _, _, raised in told)
    good = all(holds for name, holds, _ in told if name != "soft")
    assert (found.state == "clean") == (whole and good)
    assert (found.state == "broken") == (not whole)


def test_the_reason_is_found_however_great_expectations_gives_it() -> None:
    flat = {"raised_exception": True, "exception_message": "no\n such   column", "exception_traceback": "..."}
    assert why_raised(flat) == "no such column"
    assert why_raised({"metric": flat, "other": {"raised_exception": False}}) == "no such column"
    assert why_raised({"raised_exception": True, "exception_message": None}) != ""
    assert why_raised({"raised_exception": False, "exception_message": None, "exception_traceback": None}) == ""
    assert why_raised({}) == why_raised(None) == ""


def test_the_worst_of_all_suites_is_the_days() -> None:
    assert worst(("clean", "dirty", "broken")) == "broken"
    assert worst(("clean", "dirty")) == "dirty"
    assert worst(("clean",)) == worst(()) == "clean"
