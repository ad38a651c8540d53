"""PagerDuty: its Events API v2.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/: events of one `dedup_key` belong to one alert, a
trigger for an open one adds to it and calls nobody, a resolve of one that is not open is ignored; 202 is taken, 429 and
5xx pass, other 4xx do not; a summary has 1024 characters at most, an event 512 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gapless.domain.window import iso
from gapless.monitoring.page import Page, one_line
from gapless.monitoring.posting import Line, Patience

_SUMMARY = 1024
_EVENT_BYTES = 500_000


class PagerDuty:
    """A service of PagerDuty, by its integration's routing key."""

    name = "pagerduty"

    def __init__(self, url: str, routing_key: str, *, patience: Patience | None = None) -> None:
        self._key = routing_key
        self._line = Line("PagerDuty", url, secrets=[routing_key], patience=patience or Patience())

    def trigger(self, page: Page, now_ms: int) -> None:
        self._line.post(trigger_event(page, self._key), what=f"the page {page.key}")

    def resolve(self, page: Page, now_ms: int) -> None:
        event = {"routing_key": self._key, "event_action": "resolve", "dedup_key": page.key}
        self._line.post(msgspec.json.encode(event), what=f"the end of the page {page.key}")

    def remind(self, pages: Sequence[Page], now_ms: int) -> None:
        """Nothing to do: an alert stays open here until it is resolved."""


def trigger_event(page: Page, routing_key: str) -> bytes:
    """The event that opens an alert; facts that are too large for one are left out, and it says so."""
    payload: dict[str, Any] = {
        "summary": one_line(page.summary, _SUMMARY) or page.key,
        "source": page.source,
        "severity": "error",
        "timestamp": iso(page.since_ms),
        "component": page.component,
        "group": page.group,
        "class": page.kind,
        "custom_details": {**page.facts, "runbook": page.runbook, **({"run": page.link} if page.link else {})},
    }
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": page.key,
        "client": "Gapless",
        "payload": payload,
        "links": [{"href": url, "text": name} for name, url in page.links.items()],
    }
    encoded = _encoded(event)
    if len(encoded) > _EVENT_BYTES:
        payload["custom_details"] = {
            "left out": "too large for an event: gapless pages --json",
            "runbook": page.runbook,
        }
        encoded = _encoded(event)
    return encoded


def _encoded(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
