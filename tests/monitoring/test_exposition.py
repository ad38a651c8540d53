"""The text that Prometheus reads: names as agreed, types that it takes, nothing told twice."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gapless.errors import ValidationError
from gapless.monitoring.catalogue import CATALOGUE, Kind
from gapless.monitoring.exposition import Sample, exposition


def one_of_each() -> list[Sample]:
    return [Sample(m.name, 1.5, tuple(f"any_{label}" for label in m.labels)) for m in CATALOGUE.values()]


def test_every_name_of_the_catalogue_is_exposed_to_the_letter() -> None:
    lines = exposition(one_of_each()).decode().splitlines()
    names = [line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")]
    assert names == list(CATALOGUE)
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == list(CATALOGUE)


def test_a_parser_that_nobody_here_wrote_reads_the_same_samples() -> None:
    told = exposition([Sample("dq_drop_counter", 3, ("precision",)), Sample("missing_bars_total", 7, ("1m",))]).decode()
    found = {s.name: (s.labels, s.value) for family in text_string_to_metric_families(told) for s in family.samples}
    assert found == {
        "dq_drop_counter": ({"reason": "precision"}, 3.0),
        "missing_bars_total": ({"interval": "1m"}, 7.0),
    }


def test_label_values_may_hold_anything() -> None:
    odd = 'a "b"\\\n币'
    (family,) = text_string_to_metric_families(exposition([Sample("dq_drop_counter", 1, (odd,))]).decode())
    assert family.samples[0].labels == {"reason": odd}


def test_nothing_to_tell_is_an_empty_text() -> None:
    assert exposition([]) == b""


@pytest.mark.parametrize(
    "samples",
    [
        [Sample("no_such_metric", 1)],
        [Sample("dq_drop_counter", 1)],
        [Sample("review_waiting", 1, ("x",))],
        [Sample("review_waiting", 1), Sample("review_waiting", 2)],
    ],
)
def test_what_is_not_in_the_catalogue_or_told_twice_is_refused(samples: list[Sample]) -> None:
    with pytest.raises(ValidationError):
        exposition(samples)


def test_no_label_can_name_a_symbol() -> None:
    assert not {label for metric in CATALOGUE.values() for label in metric.labels} & {"symbol", "exchange_symbol", "id"}


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for metric in CATALOGUE.values():
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name


_ALLOWED = {"dq_drop_counter metric name should not include type 'counter'"}
"""What promtool may object to: the contract names it so."""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_has_nothing_to_object() -> None:
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(one_of_each()), capture_output=True, timeout=30, check=False
    )
    objections = set((result.stdout + result.stderr).decode().splitlines())
    assert objections <= _ALLOWED
