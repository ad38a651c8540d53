"""What the receivers are told of a page."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.config import load_settings
from gapless.domain.window import DAY_MS
from gapless.errors import ConfigError
from gapless.monitoring.alertmanager import alert
from gapless.monitoring.page import Page, one_line
from gapless.monitoring.pager import receivers_of
from gapless.monitoring.pagerduty import trigger_event
from tests.fixtures.pager import ROUTING_KEY

PAGE = Page(
    key="gap-1",
    kind="gap",
    summary="binance ohlcv: 60 missing rows",
    source="gapless db:3306/gapless",
    component="ohlcv",
    group="binance",
    facts={"rows": 60, "gaps": ["币安人生/USDT:USDT 1m", "BTC/USDT 1m"]},
    link="https://airflow/dags/1",
    runbook="docs/runbooks/gap.md",
    since_ms=1_795_262_400_123,
)


def test_an_event_has_what_the_events_api_asks_for() -> None:
    assert json.loads(trigger_event(PAGE, ROUTING_KEY)) == {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": "gap-1",
        "client": "Gapless",
        "payload": {
            "summary": "binance ohlcv: 60 missing rows",
            "source": "gapless db:3306/gapless",
            "severity": "error",
            "timestamp": "2026-11-21T12:00:00.123000Z",
            "component": "ohlcv",
            "group": "binance",
            "class": "gap",
            "custom_details": {
                "rows": 60,
                "gaps": ["币安人生/USDT:USDT 1m", "BTC/USDT 1m"],
                "runbook": "docs/runbooks/gap.md",
                "run": "https://airflow/dags/1",
            },
        },
        "links": [{"href": "https://airflow/dags/1", "text": "run"}],
    }


def test_an_alert_is_named_by_what_never_changes() -> None:
    told = alert(PAGE, PAGE.since_ms + DAY_MS)
    assert told["labels"] == {
        "alertname": "GaplessGap",
        "page": "gap-1",
        "severity": "page",
        "kind": "gap",
        "component": "ohlcv",
        "group": "binance",
        "source": "gapless db:3306/gapless",
    }
    assert (told["startsAt"], told["endsAt"]) == ("2026-11-21T12:00:00.123Z", "2026-11-22T12:00:00.123Z")
    assert told["generatorURL"] == "https://airflow/dags/1"
    assert "gaps: 币安人生/USDT:USDT 1m; BTC/USDT 1m" in told["annotations"]["description"]
    assert all(isinstance(text, str) for text in told["annotations"].values())


@given(st.text(max_size=3000), st.integers(2, 1024))
def test_a_summary_is_one_line_of_bounded_length(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1


def test_receivers_are_those_that_are_configured() -> None:
    def named(**settings: object) -> list[str]:
        return [receiver.name for receiver in receivers_of(load_settings(native=False, **settings))]

    assert named() == []
    assert named(pagerduty_routing_key=ROUTING_KEY) == ["pagerduty"]
    assert named(alertmanager_url="http://127.0.0.1:9093/") == ["alertmanager"]
    assert named(pagerduty_routing_key=ROUTING_KEY, alertmanager_url="http://am") == ["pagerduty", "alertmanager"]


@pytest.mark.parametrize("url", ["127.0.0.1:9093", "ftp://host/x", "http://", "file:///etc/passwd"])
@pytest.mark.parametrize("name", ["pagerduty_url", "alertmanager_url"])
def test_an_address_that_is_none_is_one_clear_line(name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"GAPLESS_{name.upper()} is wrong: write http"):
        load_settings(native=False, **{name: url})
