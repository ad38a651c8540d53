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


TWENTIETH = Window.of("2026-11-20", "2026-11-21")


def day_of(
    run_type: str, *, logical: str | None = None, until: str | None = None, after: str = "", **params: Any
) -> Window:
    from gapless_airflow.windows import day

    run = SimpleNamespace(
        run_type=run_type,
        logical_date=datetime.fromisoformat(logical) if logical else None,
        run_after=datetime.fromisoformat(after or "2031-01-01T00:00:00+00:00"),
    )
    made: dict[str, Any] = {"dag_run": run, "params": params}
    return day(made | ({"data_interval_end": datetime.fromisoformat(until)} if until else {}))


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_daily_check_looks_at_the_day_before_its_schedule(run_type: str) -> None:
    for minute in ("10", "40"):
        start, end = f"2026-11-20T00:{minute}:00+00:00", f"2026-11-21T00:{minute}:00+00:00"
        assert day_of(run_type, logical=start, until=end) == TWENTIETH


def test_a_daily_check_by_hand_takes_the_last_day_that_was_over() -> None:
    assert day_of("manual", after="2026-11-21T00:00:00+00:00") == TWENTIETH
    assert day_of("manual", after="2026-11-21T23:59:59+00:00") == TWENTIETH
    # The timetable's interval of this date ends a day earlier, at 00:10: whoever writes a date means the date.
    logical, end = "2026-11-21T00:00:00+00:00", "2026-11-20T00:10:00+00:00"
    assert day_of("manual", logical=logical, until=end) == TWENTIETH


def test_a_daily_check_takes_the_days_it_is_given() -> None:
    assert day_of("manual", start="2026-11-18", end="2026-11-20T12:00") == Window.of("2026-11-18", "2026-11-20T12:00")


@pytest.mark.parametrize("params", [{"start": "2026-11-18"}, {"start": "2026-11-01", "end": "2026-11-09"}])
def test_days_that_a_check_cannot_take_are_refused(params: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        day_of("manual", **params)


def test_a_day_by_name_is_that_day() -> None:
    assert day_of("manual", day="2026-11-20") == TWENTIETH
    assert day_of("backfill", until="2026-11-10T00:40:00+00:00", day="2026-11-20") == TWENTIETH
    with pytest.raises(ConfigError, match="write a date"):
        day_of("manual", day="2026-11-20T05:00:00Z")
