"""A page as a value, and what a receiver of pages does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

GAP, QUALITY, TEST = "gap", "quality", "test"


@dataclass(frozen=True, slots=True)
class Page:
    """What one person is told once, until it is over.

    Attributes:
        key: its name here and at every receiver, which knows by it what it has heard already.
        kind: `gap`, `quality` or `test`.
        summary: one line that says what is wrong.
        source: the installation that speaks.
        component, group: dataset and exchange, or what stands in their place. Never change in a page's life.
        facts: plain JSON values, for whoever acts.
        link: where the run can be seen; only http(s) links are passed on as such. May be empty.
        runbook: the page of `docs/` that says what to do.
        since_ms: when it began.
    """

    key: str
    kind: str
    summary: str
    source: str
    component: str
    group: str
    facts: Mapping[str, Any]
    link: str
    runbook: str
    since_ms: int

    @property
    def links(self) -> dict[str, str]:
        """What can be clicked, by name."""
        named = {"run": self.link, "runbook": self.runbook}
        return {name: url for name, url in named.items() if url.startswith(("http://", "https://"))}


class Receiver(Protocol):
    """Someone who takes pages. All three may be repeated: what was heard once is heard once.

    Raises:
        PagerError: see `gapless.monitoring.posting.Line.post`.
    """

    @property
    def name(self) -> str: ...

    def trigger(self, page: Page, now_ms: int) -> None:
        """Page somebody, or renew what an open page says."""

    def resolve(self, page: Page, now_ms: int) -> None:
        """It is over."""

    def remind(self, pages: Sequence[Page], now_ms: int) -> None:
        """These are open still, for receivers that forget."""


def one_line(text: str, most: int) -> str:
    """The text without line breaks, cut at `most` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
