"""One window for every way a run can start."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gapless.domain.window import Window
from gapless.errors import ConfigError

pytestmark = pytest.mark.usefixtures("airflow")

FOUR = datetime(2026, 11, 20, 16, tzinfo=UTC)
FIVE = datetime(2026, 11, 20, 17, tzinfo=UTC)
HOUR = Window.of(FOUR, FIVE)


def context(run_type: str, *, interval: bool = True, run_after: datetime = FIVE, **params: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"dag_run": SimpleNamespace(run_type=run_type, run_after=run_after), "params": params}
    if interval:
        made |= {"data_interval_start": FOUR, "data_interval_end": FIVE}
    return made


def assigned(made: dict[str, Any]) -> tuple[Window, int]:
    from gapless_airflow.windows import window

    return window(made)


def test_a_scheduled_run_takes_its_interval_and_catches_up_two_days() -> None:
    assert assigned(context("scheduled")) == (HOUR, 48)


def test_airflows_own_run_types_are_understood(airflow: Path) -> None:
    from airflow.utils.types import DagRunType

    assert assigned(context(DagRunType.SCHEDULED)) == (HOUR, 48)
    assert assigned(context(DagRunType.BACKFILL_JOB)) == (HOUR, 0)


def test_a_backfill_takes_exactly_its_hour() -> None:
    assert assigned(context("backfill")) == (HOUR, 0)


def test_a_manual_run_with_a_date_takes_the_interval_of_that_date() -> None:
    assert assigned(context("manual")) == (HOUR, 0)


def test_airflows_own_kind_of_datetime_is_understood() -> None:
    from airflow.sdk import timezone

    four, five = timezone.coerce_datetime(FOUR), timezone.coerce_datetime(FIVE)
    assert type(four) is not datetime
    made = context("scheduled", run_after=five) | {"data_interval_start": four, "data_interval_end": five}
    assert assigned(made) == (HOUR, 48)
    assert assigned(context("manual", interval=False, run_after=five)) == (HOUR, 48)


@pytest.mark.parametrize("minute", [0, 1, 59])
def test_a_manual_run_without_a_date_takes_the_last_whole_hour(minute: int) -> None:
    asked = datetime(2026, 11, 20, 17, minute, 59, tzinfo=UTC)
    assert assigned(context("manual", interval=False, run_after=asked)) == (HOUR, 48)


def test_a_retry_an_hour_later_means_the_same_window() -> None:
    """The moment the run was asked for counts, not the moment a task runs: nothing here reads a clock."""
    first = assigned(context("manual", interval=False, run_after=FIVE))
    assert assigned(context("manual", interval=False, run_after=FIVE)) == first


def test_start_and_end_win_over_everything_and_never_catch_up() -> None:
    made = context("scheduled", start="2026-11-01T00:00:00+00:00", end="2026-11-03T00:00:00Z")
    assert assigned(made) == (Window.of("2026-11-01", "2026-11-03"), 0)


def test_empty_params_are_no_params() -> None:
    assert assigned(context("scheduled", start=None, end="")) == (HOUR, 48)


def test_half_a_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="go together"):
        assigned(context("manual", start="2026-11-01T00:00:00Z"))


def test_more_than_seven_days_are_refused() -> None:
    assigned(context("manual", start="2026-11-01", end="2026-11-08"))
    with pytest.raises(
        ConfigError, match=r"2026-11-01T00:00:00Z\.\.2026-11-08T00:00:01Z is longer than the seven days"
    ):
        assigned(context("manual", start="2026-11-01", end="2026-11-08T00:00:01"))


def test_params_that_are_no_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="not a time: 'yesterday'"):
        assigned(context("manual", start="yesterday", end="2026-11-01"))
