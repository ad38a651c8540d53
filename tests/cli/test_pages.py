"""`gapless pages`: whom was paged of what, on a terminal and for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.fixtures.forks import run_forked
from tests.fixtures.pager import ROUTING_KEY, AlertmanagerServer, EventsReceiver
from tests.pipeline.paging.conftest import BTC, HOUR, Paged, gap, paged, unpaged

__all__ = ["paged", "unpaged"]


def pages(installation: Paged, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit status, standard output and error of `gapless pages ARGUMENTS`."""
    mine = installation.settings
    assert mine.mysql_url is not None
    key = mine.pagerduty_routing_key
    environment = {
        **os.environ,
        "GAPLESS_MYSQL_URL": mine.mysql_url.get_secret_value(),
        "GAPLESS_VAR_DIR": str(mine.var_dir),
        "GAPLESS_PAGERDUTY_URL": mine.pagerduty_url,
        "GAPLESS_PAGERDUTY_ROUTING_KEY": key.get_secret_value() if key else "",
        **settings,
    }
    done = run_forked(
        [sys.executable, "-m", "gapless", "pages", *arguments],
        env=environment, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def as_json(installation: Paged, *arguments: str, **settings: str) -> tuple[int, Any]:
    status, output, _ = pages(installation, *arguments, "--json", **settings)
    return status, json.loads(output)


def test_a_page_from_its_sending_to_its_end(paged: Paged) -> None:
    assert as_json(paged) == (0, {"receivers": ["pagerduty"], "unpaged": 0, "pages": []})
    paged.record(gap())
    assert as_json(paged)[1]["unpaged"] == 1
    assert as_json(paged, "tell") == (0, {"sent": 1, "resolved": 0, "open": 1, "unpaged": 0, "errors": []})
    status, found = as_json(paged, "list")
    [page] = found["pages"]
    assert (status, page["state"], page["told"], page["gaps"]) == (0, "sent", ["pagerduty"], 1)
    assert page["runbook"] == "docs/runbooks/gap.md"
    status, output, _ = pages(paged)
    assert status == 0
    assert "60 missing rows of BTC/USDT:USDT 1m" in output
    assert "what to do: docs/runbooks/gap.md" in output
    paged.record(looked=[(BTC, HOUR)])
    assert "0 sent, 1 resolved, 0 open" in pages(paged, "tell")[1]
    assert as_json(paged)[1]["pages"][0]["state"] == "resolved"


def test_a_test_page_is_sent_and_resolved_and_not_put_on_record(paged: Paged, events_receiver: EventsReceiver) -> None:
    status, found = as_json(paged, "test")
    assert (status, found) == (
        0,
        {"receivers": [{"receiver": "pagerduty", "sent": True, "resolved": True, "error": ""}]},
    )
    assert [action for action, _ in events_receiver.actions()] == ["trigger", "resolve"]
    assert "nothing needs to be done" in events_receiver.events[0]["payload"]["summary"]
    assert paged.states() == {}


def test_a_test_page_passes_through_alertmanager_when_it_is_held(
    unpaged: Paged, events_receiver: EventsReceiver, alertmanager: AlertmanagerServer
) -> None:
    status, output, _ = pages(unpaged, "test", "--hold", "2s", GAPLESS_ALERTMANAGER_URL=alertmanager.url)
    assert (status, output) == (0, "alertmanager: took a test page and its end\n")
    events_receiver.wait(lambda receiver: [action for action, _ in receiver.actions()] == ["trigger", "resolve"])


def test_with_nobody_configured_a_test_fails_and_says_what_to_set(unpaged: Paged) -> None:
    status, output, error = pages(unpaged, "test")
    assert (status, output) == (1, "")
    assert "nobody is paged: set GAPLESS_PAGERDUTY_ROUTING_KEY or GAPLESS_ALERTMANAGER_URL" in error
    unpaged.record(gap())
    status, output, error = pages(unpaged, "tell")
    assert (status, output) == (0, "0 sent, 0 resolved, 0 open, 1 told to nobody\n")
    assert error.count("nobody is paged") == 1
    assert "nobody is paged" in pages(unpaged)[1]


def test_a_receiver_that_refuses_is_a_line_without_the_key(paged: Paged) -> None:
    paged.record(gap())
    status, output, error = pages(paged, "tell", GAPLESS_PAGERDUTY_ROUTING_KEY=ROUTING_KEY + "more")
    assert (status, output) == (1, "0 sent, 0 resolved, 1 open, 1 told to nobody\n")
    assert "should be 32 characters" in error
    assert ROUTING_KEY not in error
    assert "Traceback" not in error
    status, found = as_json(paged, "test", GAPLESS_PAGERDUTY_ROUTING_KEY="short")
    assert status == 1
    assert "should be 32 characters" in found["receivers"][0]["error"]


def test_a_page_of_a_receiver_that_is_gone_can_be_closed(paged: Paged, unpaged: Paged) -> None:
    paged.record(gap())
    paged.tell()
    [key] = paged.states()
    paged.record(looked=[(BTC, HOUR)])
    status, _, error = pages(unpaged, "tell")
    assert status == 1
    assert f"gapless pages close {key}" in error
    status, closed = as_json(unpaged, "close", key)
    assert (status, closed["state"]) == (0, "resolved")
    assert pages(unpaged, "tell")[0] == 0
    status, _, error = pages(unpaged, "close", key)
    assert status == 1
    assert "no open page has the key" in error


@pytest.mark.parametrize("arguments", [("close",), ("tell", "gap-1"), ("sing",), ("test", "--hold", "soon")])
def test_wrong_usage_is_status_2(unpaged: Paged, arguments: tuple[str, ...]) -> None:
    status, _, error = pages(unpaged, *arguments)
    assert status == 2
    assert "Traceback" not in error


def test_an_address_that_is_none_is_one_line(unpaged: Paged) -> None:
    status, _, error = pages(unpaged, "list", GAPLESS_ALERTMANAGER_URL="alertmanager:9093")
    assert (status, error.count("\n")) == (2, 1)
    assert "GAPLESS_ALERTMANAGER_URL is wrong: write http://host:port" in error
