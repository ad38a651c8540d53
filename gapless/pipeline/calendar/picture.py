"""Panels laid out as a picture: a head with a legend, and a calendar for each market and interval. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gapless.domain.instrument import Market
from gapless.pipeline.calendar.classes import DayClass, classify, paints
from gapless.pipeline.calendar.days import Panel
from gapless.pipeline.calendar.grid import Cells, Strip, cells_for, date_of, row_of, strips
from gapless.pipeline.calendar.months import Allowance
from gapless.pipeline.calendar.scene import Box, Line, Scene, Words, width_of
from gapless.pipeline.counting import percent

_MARGIN = 24.0
_BETWEEN = 30.0
_GUTTER = 36.0
"""Room for weekdays and years at the left of a strip."""
_MONTHS = 16.0
_HEAD, _PLAIN, _SMALL = 17.0, 12.0, 10.0
_LEADING = 1.45
_LEAST_WIDTH = 330.0
_SHAPE = 1.5
"""How much wider than high a picture of many panels should be."""
_MARKETS = {Market.SPOT: "spot", Market.UM: "USD-M perpetuals"}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_GREY, _BORDER = "#666666", "#555555"


@dataclass(slots=True)
class _Sheet:
    """What has been drawn so far."""

    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)


def draw(panels: Sequence[Panel], allowance: Allowance, *, until: str, exchange: str = "binance") -> Scene:
    """A picture of panels of the same days, of which there is at least one.

    Args:
        until: bars that had closed by then are counted; ISO 8601.
    """
    first, end = panels[0].first_day, panels[0].first_day + len(panels[0].expected)
    cells, rows = cells_for(end - first), strips(first, end)
    classes = [classify(panel, allowance) for panel in panels]
    wide = _GUTTER + max(strip.columns for strip in rows) * cells.pitch
    width = max(wide, _LEAST_WIDTH)
    captions = [list(_wrapped(_counts(panel), width, size=_PLAIN - 1)) for panel in panels]
    caption = (max(map(len, captions)) + 1) * _PLAIN * _LEADING
    high = caption + len(rows) * (_MONTHS + 7 * cells.pitch + 6)
    across = _across(len(panels), width, high)
    inner = max(across * (width + _BETWEEN) - _BETWEEN, 2 * _LEAST_WIDTH)
    title = f"{exchange}: completeness of bars, {date_of(first)} to {date_of(end - 1)}"
    sheet = _Sheet()
    top = _head(sheet, title, panels, until, inner, _legend(classes, allowance))
    for number, panel in enumerate(panels):
        x = _MARGIN + number % across * (width + _BETWEEN)
        y = top + number // across * (high + _BETWEEN)
        _panel(sheet, panel, classes[number], captions[number], x, y, y + caption, cells, rows, allowance)
    bottom = top + -(-len(panels) // across) * (high + _BETWEEN) - _BETWEEN + _MARGIN
    return Scene(inner + 2 * _MARGIN, bottom, title, tuple(sheet.boxes), tuple(sheet.lines), tuple(sheet.words))


def _across(panels: int, width: float, high: float) -> int:
    """How many panels stand side by side: whole rows of them, in a handy shape."""
    shapes = {n: n * (width + _BETWEEN) / (-(-panels // n) * (high + _BETWEEN)) for n in range(1, panels + 1)}
    return min(shapes, key=lambda n: (panels % n > 0, abs(math.log(shapes[n] / _SHAPE)), n))


def _legend(classes: Iterable[npt.NDArray[np.int64]], allowance: Allowance) -> list[tuple[str, str]]:
    """A colour and its words for each class, with how many days of all panels it has."""
    days: Counter[int] = Counter()
    for each in classes:
        days.update(each.tolist())
    return [
        (paint.fill, f"{paint.label}: {days[kind]:,} {'day' if days[kind] == 1 else 'days'}")
        for kind, paint in paints(allowance).items()
    ]


def _head(
    sheet: _Sheet, title: str, panels: Sequence[Panel], until: str, inner: float, legend: Sequence[tuple[str, str]]
) -> float:
    """Title, sums and legend; returns where the panels begin."""
    y = _MARGIN + _HEAD
    for line in _wrapped(title, inner, size=_HEAD, bold=True):
        sheet.words.append(Words(_MARGIN, y, line, _HEAD, bold=True))
        y += _HEAD * _LEADING
    for line in _wrapped(f"{_totals(panels)}; bars that had closed by {until}", inner):
        sheet.words.append(Words(_MARGIN, y, line, _PLAIN))
        y += _PLAIN * _LEADING
    y += 6
    x = _MARGIN
    for fill, label in legend:
        room = 17 + width_of(label, _PLAIN) + 14
        if x > _MARGIN and x + room > _MARGIN + inner:
            x, y = _MARGIN, y + _PLAIN * _LEADING + 2
        sheet.boxes.append(Box(x, y - 10, 12, 12, fill))
        sheet.words.append(Words(x + 17, y, label, _PLAIN))
        x += room
    return y + _BETWEEN


def _panel(
    sheet: _Sheet,
    panel: Panel,
    classes: npt.NDArray[np.int64],
    caption: Sequence[str],
    x: float,
    y: float,
    top: float,
    cells: Cells,
    rows: Sequence[Strip],
    allowance: Allowance,
) -> None:
    name = f"{_MARKETS[panel.market]} {panel.interval}"
    sheet.words.append(Words(x, y + _PLAIN, name, _PLAIN + 1, bold=True))
    symbols = f"{panel.series:,} {'symbol' if panel.series == 1 else 'symbols'}"
    sheet.words.append(Words(x + width_of(name, _PLAIN + 1, bold=True) + 8, y + _PLAIN, symbols, _SMALL, fill=_GREY))
    for number, line in enumerate(caption, 1):
        sheet.words.append(Words(x, y + _PLAIN + number * _PLAIN * _LEADING, line, _PLAIN - 1, fill=_GREY))
    colours = paints(allowance)
    for strip in rows:
        left, upper = x + _GUTTER, top + _MONTHS
        _rulers(sheet, strip, left, upper, cells)
        for day in range(strip.first_day, strip.end_day):
            kind = DayClass(int(classes[day - panel.first_day]))
            paint = colours[kind]
            at_x, at_y = left + strip.column(day) * cells.pitch, upper + row_of(day) * cells.pitch
            sheet.boxes.append(Box(at_x, at_y, cells.side, cells.side, paint.fill, _told(panel, day, kind)))
            if kind >= DayClass.ALLOWED and panel.unfillable[day - panel.first_day]:
                mark = max(4, round(cells.side * 0.4))
                sheet.boxes.append(Box(at_x, at_y, mark, mark, colours[DayClass.OUTAGE].fill))
            if cells.numbered:
                middle = at_x + cells.side / 2
                sheet.words.append(
                    Words(middle, at_y + cells.side * 0.64, f"{date_of(day).day}", _SMALL + 1, "middle", fill=paint.ink)
                )
        top += _MONTHS + 7 * cells.pitch + 6


def _rulers(sheet: _Sheet, strip: Strip, left: float, upper: float, cells: Cells) -> None:
    """Months above, weekdays and the year at the left, and a line where a month begins."""
    if strip.name:
        sheet.words.append(Words(left - 6, upper + 4 * cells.pitch, strip.name, _SMALL, "end", bold=True, fill=_GREY))
    else:
        for row in range(7) if cells.numbered else (0, 2, 4):
            y = upper + row * cells.pitch + cells.side / 2 + 3.5
            sheet.words.append(Words(left - 6, y, _WEEKDAYS[row], _SMALL, "end", fill=_GREY))
    months = list(strip.months())
    year_told = strip.name
    for number, (day, each) in enumerate(months):
        name = f"{each:%b}" if year_told == f"{each:%Y}" else f"{each:%b %Y}"
        at = strip.column(day) * cells.pitch
        ahead = strip.column(months[number + 1][0]) * cells.pitch if number + 1 < len(months) else math.inf
        if ahead - at >= width_of(name, _SMALL):
            sheet.words.append(Words(left + at, upper - 4, name, _SMALL, fill=_GREY))
            year_told = f"{each:%Y}"
        if number:
            gap = (cells.pitch - cells.side) / 2
            points = tuple((left + x - gap, upper + y - gap) for x, y in strip.border(day, cells.pitch))
            sheet.lines.append(Line(points, _BORDER, 0.8))


def _told(panel: Panel, day: int, kind: DayClass) -> str:
    """What a day says when somebody points at it."""
    at = day - panel.first_day
    head = f"{date_of(day)} {_MARKETS[panel.market]} {panel.interval}: "
    if kind is DayClass.NOTHING:
        return head + "nothing expected"
    expected, unfillable = int(panel.expected[at]), int(panel.unfillable[at])
    missing, lacking = int(panel.missing[at]), int(panel.lacking[at])
    parts = [f"{_bars(int(panel.present[at]))} of {expected:,}"]
    if missing:
        worst = panel.worst.get(day, "")
        of = f"of {worst}" if lacking == 1 else f"of {lacking:,} symbols, most of {worst}"
        parts.append(f"{missing:,} missing, {of}")
    if unfillable:
        parts.append(f"{unfillable:,} unfillable: the exchange has none")
    return head + "; ".join(parts)


def _bars(count: int) -> str:
    return f"{count:,} {'bar' if count == 1 else 'bars'}"


def _counts(panel: Panel) -> str:
    return _summary(int(panel.expected.sum()), int(panel.present.sum()), int(panel.unfillable.sum()))


def _totals(panels: Sequence[Panel]) -> str:
    sums = [sum(int(getattr(panel, name).sum()) for panel in panels) for name in ("expected", "present", "unfillable")]
    return _summary(*sums)


def _summary(expected: int, present: int, unfillable: int) -> str:
    share = f"{percent(expected, present, unfillable):.6f}".rstrip("0").rstrip(".")
    missing = expected - present - unfillable
    return f"{share} %: {_bars(expected)} expected, {missing:,} missing, {unfillable:,} unfillable"


def _wrapped(text: str, width: float, *, size: float = _PLAIN, bold: bool = False) -> Iterator[str]:
    """The text in lines of about that width, broken at blanks."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}".strip()
        if line and width_of(longer, size, bold=bold) > width:
            yield line
            longer = word
        line = longer
    yield line
