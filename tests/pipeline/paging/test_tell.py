"""Somebody is told of a failed gap once, and once that it is over."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.paging import PagesReport, tell_of_quality
from tests.fixtures.forks import Forked
from tests.fixtures.pager import ROUTING_KEY, AlertmanagerServer, EventsReceiver
from tests.pipeline.paging.conftest import BTC, ETH, HOUR, Paged, gap, hour


def test_a_failed_gap_is_paged_once_and_resolved_once(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap())
    assert paged.tell() == PagesReport(sent=1, open=1)
    [event] = events_receiver.events
    key = event["dedup_key"]
    assert event["event_action"] == "trigger"
    assert event["payload"]["summary"] == (
        "binance ohlcv: 60 missing rows of BTC/USDT:USDT 1m could not be filled, 2026-11-15T11:00:00Z to "
        "2026-11-15T12:00:00Z: the exchange has it, the stores do not"
    )
    assert event["payload"]["custom_details"]["try again"].endswith("--symbols BTC/USDT:USDT --fill")
    assert paged.log() == [(BTC, "failed", key, True)]

    assert paged.tell() == PagesReport(open=1)
    paged.record(looked=[(BTC, HOUR)])
    assert paged.tell() == PagesReport(resolved=1)
    assert paged.tell() == PagesReport()
    assert events_receiver.actions() == [("trigger", key), ("resolve", key)]


def test_gaps_that_nobody_needs_to_act_on_page_nobody(paged: Paged, events_receiver: EventsReceiver) -> None:
    for number, state in enumerate(("open", "refilling", "filled", "unfillable")):
        paged.record(gap(window=hour(number), state=state))
    assert paged.tell() == PagesReport()
    assert events_receiver.bodies == []


def test_later_attempts_do_not_page_again(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap())
    paged.tell()
    for state in ("refilling", "open", "failed", "failed"):
        paged.record(gap(state=state))
        assert paged.tell() == PagesReport(open=1)
    assert len(events_receiver.events) == 1


def test_a_gap_cut_or_joined_stays_with_its_page(paged: Paged, events_receiver: EventsReceiver) -> None:
    first, second, third = (hour(number) for number in range(3))
    paged.record(gap(window=Window(first.start_ms, third.end_ms)))
    paged.tell()
    paged.record(looked=[(BTC, second)])
    assert [(state, key is not None) for _, state, key, _ in paged.log()] == [
        ("failed", True), ("filled", True), ("failed", True)]  # fmt: skip
    assert paged.tell() == PagesReport(open=1)
    paged.record(gap(window=Window(first.start_ms, third.end_ms)))
    assert paged.tell() == PagesReport(open=1)
    paged.record(gap(window=first, state="unfillable"), looked=[(BTC, Window(second.start_ms, third.end_ms))])
    assert paged.tell() == PagesReport(resolved=1)
    assert [action for action, _ in events_receiver.actions()] == ["trigger", "resolve"]


def test_an_outage_of_thousands_of_series_is_one_page(paged: Paged, events_receiver: EventsReceiver) -> None:
    symbols = [f"C{number}/USDT:USDT" for number in range(600)]
    gaps = [
        gap(symbol, interval=interval, cause=f"the exchange could not be asked: {symbol} {interval}: no answer")
        for symbol in symbols
        for interval in ("1m", "5m", "15m", "1h", "4h", "1d")
    ]
    paged.record(*[each for each in gaps if each.interval in ("1m", "5m", "15m", "1h")])
    assert paged.tell() == PagesReport(sent=1, open=1)
    [event] = events_receiver.events
    assert event["payload"]["custom_details"]["series"] == 2_400
    assert len(event["payload"]["custom_details"]["gaps"]) == 20
    assert event["payload"]["custom_details"]["more gaps"] == 2_380
    assert len(set(paged.log())) == 600


def test_each_dataset_and_cause_has_a_page_of_its_own(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(
        gap(BTC, cause="the exchange could not be asked: away"),
        gap(ETH, cause="what the exchange has breaks a rule; it is in quarantine"),
        gap(BTC, dataset="funding_rate", interval="", cause="the exchange could not be asked: away"),
    )
    assert paged.tell() == PagesReport(sent=3, open=3)
    assert len(events_receiver.incidents) == 3


def test_gaps_that_fail_soon_after_join_the_page_and_call_nobody_again(
    paged: Paged, events_receiver: EventsReceiver
) -> None:
    paged.record(gap(BTC))
    paged.tell()
    paged.record(gap(ETH))
    assert paged.tell() == PagesReport(open=1)
    [incident] = events_receiver.incidents.values()
    assert (incident.called, incident.triggers) == (1, 2)
    assert events_receiver.events[1]["payload"]["custom_details"]["series"] == 2
    assert all(sent for *_, sent in paged.log())
    paged.record(looked=[(BTC, HOUR)])
    assert paged.tell() == PagesReport(open=1)
    paged.record(looked=[(ETH, HOUR)])
    assert paged.tell() == PagesReport(resolved=1)
    assert incident.resolves == 1


def test_a_hole_torn_anew_is_paged_anew(paged: Paged, events_receiver: EventsReceiver) -> None:
    for _ in range(2):
        paged.record(gap())
        assert paged.tell().sent == 1
        paged.record(looked=[(BTC, HOUR)])
        assert paged.tell().resolved == 1
    assert [action for action, _ in events_receiver.actions()] == ["trigger", "resolve"] * 2


def test_while_nobody_is_configured_gaps_wait_for_somebody(
    unpaged: Paged, paged: Paged, events_receiver: EventsReceiver
) -> None:
    unpaged.record(gap(BTC), gap(ETH))
    assert unpaged.tell() == PagesReport(unpaged=2)
    [line] = unpaged.said
    assert "GAPLESS_PAGERDUTY_ROUTING_KEY" in line
    assert [key for _, _, key, _ in unpaged.log()] == [None, None]
    assert paged.tell() == PagesReport(sent=1, open=1)
    assert len(events_receiver.events) == 1


def test_a_receiver_that_is_away_is_told_when_it_is_back(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap())
    events_receiver.stop()
    report = paged.tell()
    assert (report.sent, report.open, report.unpaged) == (0, 1, 1)
    [error] = report.errors
    assert "PagerDuty" in error
    assert ROUTING_KEY not in error
    assert [sent for *_, sent in paged.log()] == [False]
    paged.record(gap(ETH))
    events_receiver.start()
    assert paged.tell() == PagesReport(sent=1, open=1)
    assert [event["payload"]["custom_details"]["series"] for event in events_receiver.events] == [2]


def test_a_page_that_was_over_before_anybody_took_it_is_resolved_where_it_was_tried(
    paged: Paged, events_receiver: EventsReceiver
) -> None:
    paged.record(gap())
    events_receiver.stop()
    paged.tell()
    paged.record(looked=[(BTC, HOUR)])
    report = paged.tell()
    assert (report.resolved, report.open, len(report.errors)) == (0, 1, 1)
    events_receiver.start()
    assert paged.tell() == PagesReport(resolved=1)
    assert [action for action, _ in events_receiver.actions()] == ["resolve"]


def test_refused_keys_show_the_reason_and_not_the_key(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap())
    report = paged.tell(pagerduty_routing_key=SecretStr("short-and-wrong"))
    [error] = report.errors
    assert "should be 32 characters" in error
    assert "short-and-wrong" not in error
    assert len(events_receiver.bodies) == 1
    assert paged.tell() == PagesReport(sent=1, open=1)


def test_two_at_once_send_once(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap(BTC), gap(ETH, dataset="funding_rate", interval=""))
    reports: list[PagesReport] = []
    threads = [threading.Thread(target=lambda: reports.append(paged.tell())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(report.sent for report in reports) == [0, 0, 0, 2]
    assert len(events_receiver.events) == 2


def test_the_gap_log_may_be_written_while_pages_are_sent(paged: Paged, events_receiver: EventsReceiver) -> None:
    paged.record(gap())
    events_receiver.on_event = lambda event: paged.record(gap(state="refilling"))
    assert paged.tell().sent == 1
    assert paged.log() == [(BTC, "refilling", events_receiver.events[0]["dedup_key"], True)]
    events_receiver.on_event = lambda event: None
    paged.record(gap())
    assert paged.tell() == PagesReport(open=1)


def test_killed_between_sending_and_noting_the_same_words_are_said_again(
    paged: Paged, events_receiver: EventsReceiver, tmp_path: Path
) -> None:
    paged.record(gap(), gap(ETH))
    killed = _tell_and_be_killed(paged, events_receiver, tmp_path)
    assert killed == -signal.SIGKILL
    assert list(paged.states().values()) == ["sending"]
    assert paged.tell() == PagesReport(sent=1, open=1)
    [incident] = events_receiver.incidents.values()
    assert (incident.called, incident.triggers) == (1, 2)

    paged.record(looked=[(BTC, HOUR), (ETH, HOUR)])
    assert _tell_and_be_killed(paged, events_receiver, tmp_path) == -signal.SIGKILL
    assert list(paged.states().values()) == ["resolving"]
    assert paged.tell() == PagesReport(resolved=1)
    assert (incident.called, incident.open) == (1, False)


def _tell_and_be_killed(paged: Paged, receiver: EventsReceiver, tmp_path: Path) -> int:
    """`gapless pages tell` as a process, killed when the receiver has taken its first event, before it hears so."""
    assert paged.settings.mysql_url is not None
    environment = {
        **os.environ,
        "GAPLESS_MYSQL_URL": paged.settings.mysql_url.get_secret_value(),
        "GAPLESS_VAR_DIR": str(tmp_path / "var"),
        "GAPLESS_PAGERDUTY_URL": receiver.url,
        "GAPLESS_PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
    }
    started = threading.Event()

    def kill(event: dict[str, Any]) -> None:
        assert started.wait(30)
        process.kill()
        process.wait(30)

    receiver.on_event = kill
    process = Forked([sys.executable, "-m", "gapless", "pages", "tell"], env=environment)
    started.set()
    status = process.wait(120)
    receiver.on_event = lambda event: None
    return status


def test_a_receiver_that_is_configured_later_hears_of_what_is_open(
    paged: Paged, events_receiver: EventsReceiver, alertmanager: AlertmanagerServer
) -> None:
    paged.record(gap())
    assert paged.tell(alertmanager_url=alertmanager.url, pagerduty_routing_key=None).sent == 1
    events_receiver.wait(lambda receiver: len(receiver.events) == 1)
    assert paged.tell(alertmanager_url=alertmanager.url) == PagesReport(open=1)
    assert len(events_receiver.incidents) == 2
    paged.record(looked=[(BTC, HOUR)])
    report = paged.tell()
    assert (report.resolved, report.open) == (0, 1)
    assert "alertmanager, which was told of it, is not configured here" in report.errors[0]
    assert paged.tell(alertmanager_url=alertmanager.url) == PagesReport(resolved=1)
    events_receiver.wait(lambda receiver: not any(each.open for each in receiver.incidents.values()))


def test_through_alertmanager_the_page_ends_at_the_same_receiver(
    paged: Paged, events_receiver: EventsReceiver, alertmanager: AlertmanagerServer
) -> None:
    settings = {"alertmanager_url": alertmanager.url, "pagerduty_routing_key": None}
    paged.record(gap())
    assert paged.tell(**settings) == PagesReport(sent=1, open=1)
    events_receiver.wait(lambda receiver: len(receiver.events) == 1)
    [alert] = alertmanager.alerts()
    assert alert["labels"]["alertname"] == "GaplessGap"
    assert "60 missing rows of BTC/USDT:USDT 1m" in events_receiver.events[0]["payload"]["summary"]

    # Alertmanager forgets its alerts when it is started anew; it remembers whom it has told.
    alertmanager.stop()
    alertmanager.start()
    assert alertmanager.alerts() == []
    assert paged.tell(**settings) == PagesReport(open=1)
    assert len(alertmanager.alerts()) == 1

    paged.record(looked=[(BTC, HOUR)])
    assert paged.tell(**settings) == PagesReport(resolved=1)
    events_receiver.wait(lambda receiver: not any(each.open for each in receiver.incidents.values()))
    [incident] = events_receiver.incidents.values()
    assert (incident.called, incident.resolves) == (1, 1)


def test_a_bad_day_is_paged_once_and_resolved_by_a_good_run(paged: Paged, events_receiver: EventsReceiver) -> None:
    assert paged.quality("2026-11-20", bad=False) == PagesReport()
    assert paged.quality("2026-11-20", bad=True) == PagesReport(sent=1, open=1)
    assert paged.quality("2026-11-20", bad=True, summary="2 rules failed") == PagesReport(open=1)
    assert paged.quality("2026-11-21", bad=True) == PagesReport(sent=1, open=2)
    assert paged.quality("2026-11-20", bad=False) == PagesReport(resolved=1, open=1)
    assert paged.tell() == PagesReport(open=1)
    assert events_receiver.actions() == [
        ("trigger", "quality:2026-11-20"),
        ("trigger", "quality:2026-11-21"),
        ("resolve", "quality:2026-11-20"),
    ]
    assert events_receiver.events[0]["links"] == [{"href": "https://ui/run/1", "text": "run"}]
    assert paged.quality("2026-11-20", bad=True) == PagesReport(sent=1, open=2)


def test_a_bad_day_that_nobody_could_be_told_of_is_not_told_later(
    unpaged: Paged, paged: Paged, events_receiver: EventsReceiver
) -> None:
    assert unpaged.quality("2026-11-20", bad=True) == PagesReport(unpaged=1)
    assert len(unpaged.said) == 1
    assert paged.tell() == PagesReport()
    assert events_receiver.bodies == []


def test_a_bad_day_is_told_when_the_receiver_is_back(paged: Paged, events_receiver: EventsReceiver) -> None:
    events_receiver.stop()
    report = paged.quality("2026-11-20", bad=True)
    assert (report.sent, report.open, report.unpaged, len(report.errors)) == (0, 1, 1, 1)
    events_receiver.start()
    assert paged.tell() == PagesReport(sent=1, open=1)


@pytest.mark.parametrize("key", ["", "x" * 60, "with space", "ä", "line\nbreak"])
def test_keys_that_no_column_holds_are_refused(paged: Paged, key: str) -> None:
    with paged.open() as rt, pytest.raises(ConfigError, match="not a page's key"):
        tell_of_quality(rt, key, bad=True, summary="", detail={}, link="")


def test_a_page_never_holds_more_than_an_event_may(paged: Paged, events_receiver: EventsReceiver) -> None:
    with paged.open() as rt:
        report = tell_of_quality(
            rt, "quality:big", bad=True, summary="wide " * 1000, detail={"rows": ["x" * 1000] * 1000}, link="not a link"
        )
    assert report == PagesReport(sent=1, open=1)
    [event] = events_receiver.events
    assert event["links"] == []
    assert "too large" in json.dumps(event["payload"]["custom_details"])
