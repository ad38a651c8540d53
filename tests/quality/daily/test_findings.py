"""Findings are all counted, and the gravest are listed, however many there are."""

from __future__ import annotations

from gapless.domain.window import parse_time
from gapless.quality.daily.findings import (
    ACTIVITY,
    CRITICAL,
    HOLE,
    REVIEW,
    WARNING,
    Finding,
    Findings,
    Verdict,
    finding,
    number_text,
    share_text,
    verdict,
)

NOON = parse_time("2026-11-14T12:00")


def one(severity: str, number: int = 0, rule: str = HOLE) -> Finding:
    return finding(rule, severity, f"C{number:04d}/USDT", "1m", NOON, "1 bar", "none", "it is not there")


def test_the_text_stands_alone() -> None:
    assert one(CRITICAL).text == "C0000/USDT 1m 2026-11-14T12:00:00Z: it is not there"


def test_the_gravest_survive_a_flood_of_others_and_all_are_counted() -> None:
    found = Findings(listed=10)
    for number in range(100):
        found.add(ACTIVITY, verdict([one(WARNING, number, ACTIVITY)]))
    found.add(HOLE, verdict([one(CRITICAL, 1), one(CRITICAL, 0)]))
    found.add(ACTIVITY, Verdict((), {REVIEW: 5}))
    listed = found.listed()
    assert len(listed) == 10
    assert [each.symbol for each in listed[:3]] == ["C0000/USDT", "C0001/USDT", "C0000/USDT"]
    assert found.by_rule[ACTIVITY] == 105
    assert dict(found.by_severity) == {CRITICAL: 2, WARNING: 100, REVIEW: 5}


def test_findings_of_parts_add_up_to_those_of_the_whole() -> None:
    parts, whole = Findings(), Findings()
    for number in range(3):
        part = Findings()
        for target in (part, whole):
            target.add(HOLE, verdict([one(CRITICAL, number)]))
        parts.merge(part)
    assert (parts.by_rule, parts.by_severity, parts.listed()) == (whole.by_rule, whole.by_severity, whole.listed())


def test_numbers_are_written_for_a_reader() -> None:
    from decimal import Decimal

    assert [share_text(each) for each in (0.00834, 0.5, 12.0, 1e-9)] == ["0.834 %", "50 %", "1,200 %", "1e-07 %"]
    assert [number_text(Decimal(each)) for each in ("0.12310000", "100.00000000", "1E-8", "0E-8")] == [
        "0.1231", "100", "0.00000001", "0",
    ]  # fmt: skip
    assert number_text(1200) == "1200"
