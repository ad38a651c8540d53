"""Alertmanager: its API v2, as a client that speaks now and then.

https://prometheus.io/docs/alerting/latest/alerts_api/: alerts are told apart by their labels; one that is not heard of
again until its `endsAt` is taken as over, and a restart forgets them all. Clients are expected to repeat themselves
every few minutes. Ours run by the hour or day, so each alert says that it ends `_AHEAD_MS` from now, every run repeats
those that are open, and only a past `endsAt` ends one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gapless.domain.window import DAY_MS, from_ms
from gapless.monitoring.page import Page, one_line
from gapless.monitoring.posting import Line, Patience

_AHEAD_MS = 30 * DAY_MS
_PIECE = 500
_TEXT = 8_000


class Alertmanager:
    """An Alertmanager, by its base address."""

    name = "alertmanager"

    def __init__(self, url: str, *, patience: Patience | None = None) -> None:
        self._line = Line("Alertmanager", f"{url}/api/v2/alerts", patience=patience or Patience())

    def trigger(self, page: Page, now_ms: int) -> None:
        self._post([alert(page, now_ms + _AHEAD_MS)], f"the page {page.key}")

    def resolve(self, page: Page, now_ms: int) -> None:
        self._post([alert(page, max(now_ms, page.since_ms))], f"the end of the page {page.key}")

    def remind(self, pages: Sequence[Page], now_ms: int) -> None:
        for at in range(0, len(pages), _PIECE):
            piece = pages[at : at + _PIECE]
            self._post([alert(page, now_ms + _AHEAD_MS) for page in piece], f"{len(piece)} open pages")

    def _post(self, alerts: list[dict[str, Any]], what: str) -> None:
        self._line.post(msgspec.json.encode(alerts, enc_hook=str), what=what)


def alert(page: Page, ends_ms: int) -> dict[str, Any]:
    """The page as an alert: what never changes in its life as labels, what may as annotations."""
    told = {"summary": one_line(page.summary, 1024), "description": _described(page), **page.links}
    labels = {
        "alertname": f"Gapless{page.kind.capitalize()}",
        "page": page.key,
        "severity": "page",
        "kind": page.kind,
        "component": page.component,
        "group": page.group,
        "source": page.source,
    }
    return {
        "labels": labels,
        "annotations": {("runbook_url" if name == "runbook" else name): text for name, text in told.items() if text},
        "startsAt": _rfc3339(page.since_ms),
        "endsAt": _rfc3339(ends_ms),
        **({"generatorURL": page.links["run"]} if "run" in page.links else {}),
    }


def _described(page: Page) -> str:
    lines = [f"{name}: {_plain(value)}" for name, value in page.facts.items()]
    return "\n".join([*lines, f"runbook: {page.runbook}"])[:_TEXT]


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "; ".join(_plain(each) for each in value)
    return msgspec.json.encode(value, enc_hook=str).decode()


def _rfc3339(at_ms: int) -> str:
    return from_ms(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
