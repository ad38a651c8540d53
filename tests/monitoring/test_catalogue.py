"""The page of metrics says what the code exposes."""

from __future__ import annotations

import re
from pathlib import Path

from gapless.monitoring.catalogue import CATALOGUE
from gapless.monitoring.live_catalogue import LIVE_CATALOGUE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- catalogue -->\n", "<!-- end of catalogue -->"


def table() -> str:
    """The catalogue as the page has it."""
    lines = ["| metric | type | labels | says |", "|---|---|---|---|"]
    for metric in CATALOGUE.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_the_catalogue_to_the_letter() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert found == table(), "copy the table of tests/monitoring/test_catalogue.py into docs/metrics.md"


def test_the_page_speaks_of_no_metric_that_is_not_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"\b([a-z_]+)(?:\{|\[\d)", text)) | set(re.findall(r"`([a-z]+_[a-z_]+)`", text))
    known = set(CATALOGUE) | set(LIVE_CATALOGUE) | {f"{name}_bucket" for name in LIVE_CATALOGUE}
    labels = {label for each in (CATALOGUE, LIVE_CATALOGUE) for metric in each.values() for label in metric.labels}
    words = {"gap_diff", "gap_diff_daily", "static_configs", "scrape_configs", "symbol_series"} | labels
    unknown = {name for name in named if name not in known} - words
    assert not unknown
