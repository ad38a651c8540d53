"""Which window a run means: one function for every way a run can start."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from gapless.domain.window import DAY_MS, HOUR_MS, Window, parse_time, to_ms
from gapless.errors import ConfigError

CATCH_UP_HOURS = 48
"""How far back a run that keeps up with the present looks for windows without a receipt."""

MAX_PARAM_WINDOW_MS = 7 * DAY_MS
"""The longest window of the form: one run pages it in a handful of tasks; more belongs in Airflow's own backfill."""


class Assignment(NamedTuple):
    """What a run is to do.

    Attributes:
        window: the run's own window; the bars that complete in it are taken.
        catch_up_hours: hours before the window in which windows without a receipt are taken too; 0 for none.
    """

    window: Window
    catch_up_hours: int


def window(context: Mapping[str, Any]) -> Assignment:
    """The window of a run, the same at every try of every task, however the run was started.

    ======================================  =======================================================  ========
    run                                     window                                                   catch-up
    ======================================  =======================================================  ========
    Params `start` and `end` given          `[start, end)`                                           0
    scheduled                               its data interval                                        48 h
    Airflow's backfill                      its data interval, exactly that hour                     0
    manual with a logical date              the data interval that the timetable gives that date     0
    manual without one (the UI's "now")     the last whole hour before the run was asked for         48 h
    ======================================  =======================================================  ========

    "Before the run was asked for" (`run_after`) rather than "now", so that a retry an hour later means the same
    window. The host's clock only chooses the hour; whether its bars are closed is judged by the exchange's, in
    `plan_hour`.

    Args:
        context: Airflow's task context; read are `params`, `dag_run`, `data_interval_start` and `data_interval_end`.

    Raises:
        ConfigError: the Params are half given, not times, or longer than seven days.
    """
    params: Mapping[str, Any] = context.get("params") or {}
    start, end = params.get("start"), params.get("end")
    if start or end:
        return Assignment(_from_params(start, end), 0)

    dag_run = context["dag_run"]
    interval_start, interval_end = context.get("data_interval_start"), context.get("data_interval_end")
    if interval_start is not None and interval_end is not None:
        catch_up = CATCH_UP_HOURS if dag_run.run_type == "scheduled" else 0
        return Assignment(Window(_ms(interval_start), _ms(interval_end)), catch_up)

    return Assignment(last_whole_hour(dag_run.run_after), CATCH_UP_HOURS)


def day(context: Mapping[str, Any]) -> Window:
    """The days (UTC) that a run of a daily check looks at, the same at every try of every task.

    ======================================  ====================================================
    run                                     window
    ======================================  ====================================================
    Params `start` and `end` given          `[start, end)`
    Param `day` given                       that day
    scheduled, Airflow's backfill           the day before the one its data interval ends in
    manual with a logical date              the last whole day that was over by then
    manual without one (the UI's "now")     the last whole day before the run was asked for
    ======================================  ====================================================

    The host's clock only chooses the day; whether it is over is judged by the exchange's, where it is compared.

    Args:
        context: as of `window`.

    Raises:
        ConfigError: the Params are half given, no times, no date, or longer than seven days.
    """
    params: Mapping[str, Any] = context.get("params") or {}
    start, end = params.get("start"), params.get("end")
    if start or end:
        return _from_params(start, end)
    if params.get("day"):
        start_ms = parse_time(str(params["day"]))
        if start_ms % DAY_MS:
            raise ConfigError(f"param day is {params['day']}: write a date such as 2026-11-20")
        return Window(start_ms, start_ms + DAY_MS)
    dag_run = context["dag_run"]
    interval_end = context.get("data_interval_end")
    if interval_end is not None and dag_run.run_type != "manual":
        return last_whole_day(interval_end)
    return last_whole_day(dag_run.logical_date or dag_run.run_after)


def last_whole_day(moment: datetime) -> Window:
    """The day (UTC) that was over most recently at `moment`: the 20th at 00:00 and at 23:59 of the 21st."""
    end_ms = _ms(moment) // DAY_MS * DAY_MS
    return Window(end_ms - DAY_MS, end_ms)


def last_whole_hour(moment: datetime) -> Window:
    """The hour `[h, h + 1)` that was over most recently at `moment`: 16:00-17:00 at 17:00:00 and at 17:59:59."""
    end_ms = _ms(moment) // HOUR_MS * HOUR_MS
    return Window(end_ms - HOUR_MS, end_ms)


def _ms(moment: datetime) -> int:
    """Milliseconds of a moment; it may be of Airflow's own kind (pendulum), whose differences cannot be divided."""
    return to_ms(datetime.fromisoformat(moment.isoformat()))


def _from_params(start: object, end: object) -> Window:
    if not start or not end:
        raise ConfigError("params start and end go together: give both, or neither for the run's own window")
    asked = Window.of(str(start), str(end))
    if asked.length_ms > MAX_PARAM_WINDOW_MS:
        raise ConfigError(f"{asked} is longer than the seven days one run takes: trigger it in pieces, or use Backfill")
    return asked
