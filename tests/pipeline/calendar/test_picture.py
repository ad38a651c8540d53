"""The picture: where days lie, what it says of them, and that the same days are the same bytes."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.cli.picture import picture_path, write_picture
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, Window
from gapless.errors import ConfigError
from gapless.pipeline.calendar import Allowance, Ledger, Panel, Scene, draw, svg
from gapless.pipeline.calendar.classes import DayClass, paints
from gapless.pipeline.calendar.grid import date_of, day_of, row_of, strips
from gapless.pipeline.counting import DayCounts

ALLOWANCE = Allowance(0.05)
UNTIL = "2026-11-15T12:30:30Z"
FILLS = {kind: paint.fill for kind, paint in paints(ALLOWANCE).items()}
SVG = "{http://www.w3.org/2000/svg}"


def panels(start: str, end: str, *intervals: Interval) -> tuple[Panel, ...]:
    """A listing on the third day, then a missing bar, an outage, a hole beside an outage, an empty day."""
    window = Window.of(start, end)
    ledger = Ledger(window)
    days = window.length_ms // DAY_MS - 2
    for interval in intervals or (Interval.M1,):
        per = DAY_MS // interval.ms
        expected = np.full(days, per, np.int64)
        expected[0] = per // 3
        present, unfillable = expected.copy(), np.zeros(days, np.int64)
        present[5] -= 1
        present[8] -= 60
        unfillable[8] = 60
        present[10] -= 300
        unfillable[10] = 60
        present[12] = 0
        for symbol in ("BTC/USDT:USDT", "BTC/USDT"):
            ledger.add(symbol, interval, DayCounts(window.start_ms // DAY_MS + 2, expected, present, unfillable))
    return ledger.panels()


def titled(scene: Scene, words: str) -> dict[str, str]:
    """Fills of the days whose title begins so, by date."""
    return {box.title[:10]: box.fill for box in scene.boxes if words in box.title}


def test_each_planted_day_has_its_own_colour_and_tells_why() -> None:
    scene = draw(panels("2026-11-01", "2026-12-01"), ALLOWANCE, until=UNTIL)
    days = titled(scene, " spot 1m:")
    assert len(days) == 30
    assert days["2026-11-01"] == FILLS[DayClass.NOTHING]
    assert days["2026-11-03"] == days["2026-11-04"] == FILLS[DayClass.WHOLE], "a listing day is short and whole"
    assert days["2026-11-08"] == FILLS[DayClass.SOME]
    assert days["2026-11-11"] == FILLS[DayClass.OUTAGE]
    assert days["2026-11-13"] == FILLS[DayClass.MOST]
    assert days["2026-11-15"] == FILLS[DayClass.ALL]
    told = {box.title[:10]: box.title for box in scene.boxes if " spot 1m:" in box.title}
    assert told["2026-11-08"] == "2026-11-08 spot 1m: 1,439 bars of 1,440; 1 missing, of BTC/USDT"
    assert told["2026-11-11"] == "2026-11-11 spot 1m: 1,380 bars of 1,440; 60 unfillable: the exchange has none"
    assert told["2026-11-01"] == "2026-11-01 spot 1m: nothing expected"
    marks = [box for box in scene.boxes if not box.title and box.fill == FILLS[DayClass.OUTAGE] and box.width < 12]
    assert len(marks) == 1 * 2, "a corner where an outage and a hole meet, in both panels"


def test_head_and_legend_count() -> None:
    scene = draw(panels("2026-11-01", "2026-12-01"), ALLOWANCE, until=UNTIL)
    words = " ".join(each.text for each in scene.words)
    assert "binance: completeness of bars, 2026-11-01 to 2026-11-30" in words
    assert f"closed by {UNTIL}" in words
    assert "1 bar to 0.05 % missing: 0 days" in words
    assert "to 1 %: 2 days" in words
    assert "nothing stored: 2 days" in words
    assert "nothing expected: 4 days" in words


@pytest.mark.parametrize(
    ("start", "end", "intervals"),
    [
        ("2026-11-01", "2026-12-01", ALL_INTERVALS[:1]),
        ("2025-11-16", "2026-11-16", ALL_INTERVALS),
        ("2017-01-01", "2026-11-16", ALL_INTERVALS[:3]),
    ],
)
def test_nothing_lies_outside_the_picture_and_no_two_days_on_each_other(
    start: str, end: str, intervals: tuple[Interval, ...]
) -> None:
    scene = draw(panels(start, end, *intervals), ALLOWANCE, until=UNTIL)
    for box in scene.boxes:
        assert box.x >= 0
        assert box.x + box.width <= scene.width
        assert box.y >= 0
        assert box.y + box.height <= scene.height
    places = [(box.x, box.y) for box in scene.boxes if box.title]
    assert len(places) == len(set(places)) == 2 * len(intervals) * (Window.of(start, end).length_ms // DAY_MS)
    for line in scene.lines:
        assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in line.points)
    for words in scene.words:
        assert 0 <= words.x <= scene.width
        assert 0 <= words.y <= scene.height


@given(st.dates(dt.date(2017, 1, 1), dt.date(2030, 1, 1)), st.integers(1, 4000))
def test_weeks_are_columns_weekdays_are_rows_and_every_day_has_one_place(start: dt.date, days: int) -> None:
    first = day_of(start)
    found = [day for strip in strips(first, first + days) for day in range(strip.first_day, strip.end_day)]
    assert found == list(range(first, first + days))
    for strip in strips(first, first + days):
        for day in range(strip.first_day, strip.end_day):
            assert row_of(day) == date_of(day).weekday()
            assert 0 <= strip.column(day) < min(54, strip.columns)
            if day > strip.first_day:
                assert strip.column(day) - strip.column(day - 1) == (row_of(day) == 0)
        if strip.name:
            assert {date_of(strip.first_day).year, date_of(strip.end_day - 1).year} == {int(strip.name)}


def test_svg_keeps_text_as_text_and_tells_each_day() -> None:
    root = ET.fromstring(svg(draw(panels("2026-11-01", "2026-12-05"), ALLOWANCE, until=UNTIL)))
    titles = [each.text or "" for each in root.iter(f"{SVG}title")]
    assert sum("2026-11-08" in title for title in titles) == 2
    assert any("USD-M perpetuals 1m" in (each.text or "") for each in root.iter(f"{SVG}text"))
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {"svg", "title", "rect", "polyline", "text"}
    assert "http" not in "".join(titles)


def test_a_name_with_markup_is_only_a_name() -> None:
    ledger = Ledger(Window.of("2026-11-01", "2026-11-02"))
    odd = '<b>&"币/USDT'
    day = Window.of("2026-11-01", "2026-11-02").start_ms // DAY_MS
    ledger.add(odd, Interval.H1, DayCounts(day, *(np.array([each], np.int64) for each in (24, 23, 0))))
    root = ET.fromstring(svg(draw(ledger.panels(), ALLOWANCE, until=UNTIL)))
    assert any(odd in (each.text or "") for each in root.iter(f"{SVG}title"))


@pytest.mark.parametrize("form", [".png", ".svg"])
def test_two_pictures_of_the_same_days_are_the_same_bytes(tmp_path: Path, form: str) -> None:
    files = [tmp_path / f"{number}{form}" for number in range(2)]
    for file in files:
        write_picture(draw(panels("2025-11-16", "2026-11-16"), ALLOWANCE, until=UNTIL), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_single_missing_bar_can_be_seen_in_ten_years_of_a_png(tmp_path: Path) -> None:
    from matplotlib import image

    write_picture(draw(panels("2017-01-01", "2026-11-16", *ALL_INTERVALS), ALLOWANCE, until=UNTIL), tmp_path / "x.png")
    pixels = (image.imread(tmp_path / "x.png")[:, :, :3] * 255).round().astype(int)
    colour = [int(FILLS[DayClass.SOME][at : at + 2], 16) for at in (1, 3, 5)]
    seen = int((pixels == colour).all(axis=2).sum())
    assert seen > 2 * 8 * 8, "two panels' days of 8 pixels, sharpened, beside the legend's"


@pytest.mark.parametrize("name", ["x.jpg", "x", "nowhere/x.png"])
def test_a_picture_needs_a_form_and_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--picture"):
        picture_path(str(tmp_path / name))


def test_the_year_is_told_once_by_the_first_month_that_has_room() -> None:
    scene = draw(panels("2025-11-25", "2026-06-01"), ALLOWANCE, until=UNTIL)
    months = [each.text for each in scene.words if each.text[:3] in ("Nov", "Dec", "Jan", "Feb", "May")]
    assert months == ["Dec 2025", "Jan 2026", "Feb", "May"] * 2
