"""The pages that a reader meets first: the verdict on a day, and the list of all verdicts. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from urllib.parse import quote, urlsplit

import msgspec

from gapless.quality.expectations.report import ExpectationsReport, RuleFailure, State, SuiteResult
from gapless.quality.expectations.rules import Suite

_WORDS: dict[State, str] = {"clean": "clean", "dirty": "data bad", "broken": "check broken"}
_VERDICTS: dict[State, str] = {
    "clean": "Every critical rule holds.",
    "dirty": "A critical rule does not hold: what is stored is wrong.",
    "broken": "A check could not be done: nothing is known of what it looks at.",
}


class Entry(msgspec.Struct, frozen=True):
    """A run in the list: what is kept of it beside its pages.

    Attributes:
        folder: of its pages, below the site: `2026-11-20/quality_daily-scheduled`.
        at: when it ended, ISO 8601.
    """

    day: str
    run_id: str
    link: str
    state: State
    bad: int
    warnings: int
    rows: int
    seconds: float
    at: str
    folder: str


def day_page(
    report: ExpectationsReport, suites: Sequence[Suite], details: Mapping[str, str], *, to_site: str, ended: str
) -> str:
    """The verdict on a day: what failed for which rows first, then what was checked.

    Args:
        details: by suite, the way to Great Expectations' own page.
        to_site: the way from this page to the site's folder, ending in a slash.
        ended: when the run ended, for a reader.
    """
    known = {suite.name: suite for suite in suites}
    failed = [(result, failure) for result in report.suites for failure in result.failures]
    bad = [each for each in failed if each[1].severity == "critical"]
    warned = [each for each in failed if each[1].severity != "critical"]
    broken = [(result, text) for result in report.suites for text in result.broken]
    parts = [
        f'<p><a href="{escape(to_site)}index.html">All days</a></p>',
        f"<h1>Stored data of {escape(report.day)}, UTC</h1>",
        f'<p class="soft">run {_run(report.run_id, report.link)}, {escape(ended)}; {report.seconds:,.1f} seconds</p>',
        f'<p class="verdict {report.state}"><span class="state">{_WORDS[report.state]}</span>. '
        f"{_VERDICTS[report.state]}</p>",
    ]
    if broken:
        parts.append("<h2>Checks that could not be done</h2><p>Correct the check, not the data, and run it again.</p>")
        parts.append(_list(f"<b>{_title(known, result)}</b>: <code>{escape(text)}</code>" for result, text in broken))
    if bad:
        parts.append("<h2>Rules that do not hold</h2>")
        parts += [_failure(known, result, failure) for result, failure in bad]
    if warned:
        parts.append("<h2>Warnings</h2><p>These make no day bad; they are worth a look.</p>")
        parts += [_failure(known, result, failure) for result, failure in warned]
    parts.append("<h2>What was checked</h2>")
    parts.append(_table(("table", "rows checked", "", "rules", "verdict"), (1, 3), _rows(report, known, details)))
    parts.append(f'<p class="soft">Full report in the lake: <code>{escape(report.report_key)}</code></p>')
    return _page(f"{report.day}: {_WORDS[report.state]}", "".join(parts), to_site)


def index_page(entries: Iterable[Entry], *, kept_days: int) -> str:
    """All verdicts that are kept, the latest day first."""
    listed = sorted(entries, key=lambda entry: (entry.day, entry.at), reverse=True)
    rows = [
        (
            f'<a class=whole href="{quote(entry.folder)}/index.html">{escape(entry.day)}</a>',
            f'<span class="state {entry.state}">{_WORDS[entry.state]}</span>',
            f"{entry.bad:,}",
            f"{entry.warnings:,}",
            f"{entry.rows:,}",
            _run(entry.run_id, entry.link),
            f"<span class=whole>{escape(entry.at)}</span>",
        )
        for entry in listed
    ]
    header = ("day (UTC)", "verdict", "rules broken", "warnings", "rows checked", "run", "ended")
    body = (
        "<h1>Is what is stored true?</h1>"
        "<p>Every day, the rows of the day before are held against rules, table by table: Great Expectations' suites. "
        '"data bad": a critical rule does not hold. "check broken": a check could not be done, and nothing is known of '
        f"what it looks at. Pages are kept for {kept_days} days.</p>"
        + (_table(header, (2, 3, 4), rows) if rows else "<p>No day has been checked yet.</p>")
    )
    return _page("Data docs", body, "")


def entry_of(report: ExpectationsReport, *, folder: str, at: str) -> Entry:
    """A report as a line of the list."""
    return Entry(
        day=report.day,
        run_id=report.run_id,
        link=report.link,
        state=report.state,
        bad=sum(failure.severity == "critical" for suite in report.suites for failure in suite.failures),
        warnings=report.warnings,
        rows=sum(suite.rows for suite in report.suites),
        seconds=report.seconds,
        at=at,
        folder=folder,
    )


def _rows(
    report: ExpectationsReport, known: Mapping[str, Suite], details: Mapping[str, str]
) -> Iterable[tuple[str, ...]]:
    for result in report.suites:
        title = _title(known, result)
        way = details.get(result.name)
        suite = known.get(result.name)
        shown = f'<a href="{quote(way)}">{title}</a>' if way else title
        yield (
            f"{shown}<br><code class=soft>{escape(result.table)}</code>",
            f"{result.rows:,}",
            f"<span class=soft>{escape(suite.batch) if suite else ''}</span>",
            f"{result.evaluated} of {result.expected}",
            f'<span class="state {result.state}">{_WORDS[result.state]}</span>'
            + (f' <span class="warning">{_warnings(result)}</span>' if _warnings(result) else ""),
        )


def _warnings(result: SuiteResult) -> str:
    count = sum(failure.severity == "warning" for failure in result.failures)
    return f"{count} warning{'s' if count > 1 else ''}" if count else ""


def _failure(known: Mapping[str, Suite], result: SuiteResult, failure: RuleFailure) -> str:
    kind = "dirty" if failure.severity == "critical" else "warning"
    head = f'<h3><span class="{kind}">{_title(known, result)}</span>: {escape(failure.means)}</h3>'
    if not failure.column:
        return head + _list(escape(text) for text in failure.sample)
    more = failure.unexpected - len(failure.sample)
    rows = _list(escape(text) for text in failure.sample)
    rest = f"<p class=soft>and {more:,} more</p>" if more > 0 else ""
    found = f"{failure.unexpected:,} found among {failure.total:,} rows (rule {escape(failure.rule)})"
    return f"{head}<p>{found}</p>{rows}{rest}"


def _title(known: Mapping[str, Suite], result: SuiteResult) -> str:
    return escape(known[result.name].title if result.name in known else result.name)


def _run(run_id: str, link: str) -> str:
    web = urlsplit(link).scheme in ("http", "https")  # nothing that a browser would run
    shown = f"<code>{escape(run_id)}</code>"
    return f'<a href="{escape(link, quote=True)}">{shown}</a>' if web else shown


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _table(header: Sequence[str], numbers: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    def cell(tag: str, place: int, text: str) -> str:
        return f"<{tag}{' class=number' if place in numbers else ''}>{text}</{tag}>"

    lines = ["<table><thead><tr>", *(cell("th", place, text) for place, text in enumerate(header)), "</tr></thead>"]
    for row in rows:
        lines += ["<tr>", *(cell("td", place, text) for place, text in enumerate(row)), "</tr>"]
    return "".join([*lines, "</table>"])


def _page(title: str, body: str, to_site: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{escape(to_site)}assets/gapless.css"></head>'
        f"<body>{body}</body></html>\n"
    )
