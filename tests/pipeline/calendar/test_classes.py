"""Classes of days: one bar of a million shows, and the colours stay apart for everybody."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.pipeline.calendar import Allowance
from gapless.pipeline.calendar.classes import DayClass, classify, paints
from gapless.pipeline.calendar.days import Panel

ALLOWANCE = Allowance(0.05)


def class_of(expected: int, present: int, unfillable: int = 0) -> DayClass:
    arrays = [np.array([each], np.int64) for each in (expected, present, unfillable, 0)]
    panel = Panel(Market.UM, Interval.M1, 20_000, 1, *arrays, {})
    return DayClass(int(classify(panel, ALLOWANCE)[0]))


@pytest.mark.parametrize(
    ("expected", "present", "unfillable", "found"),
    [
        (0, 0, 0, DayClass.NOTHING),
        (1440, 1440, 0, DayClass.WHOLE),
        (864_000, 863_999, 0, DayClass.ALLOWED),
        (1440, 1439, 0, DayClass.SOME),
        (24, 23, 0, DayClass.MUCH),
        (6, 5, 0, DayClass.MOST),
        (1, 0, 0, DayClass.ALL),
        (1440, 0, 0, DayClass.ALL),
        (1440, 1430, 10, DayClass.OUTAGE),
        (1440, 0, 1440, DayClass.OUTAGE),
        (1440, 1429, 10, DayClass.SOME),
        (1440, 0, 1439, DayClass.ALL),
    ],
)
def test_a_day_is_of_the_class_of_its_missing_share(
    expected: int, present: int, unfillable: int, found: DayClass
) -> None:
    assert class_of(expected, present, unfillable) is found


def test_only_a_whole_day_looks_whole() -> None:
    for expected in (1, 24, 1440, 864_000, 10**9):
        assert class_of(expected, expected) is DayClass.WHOLE
        assert class_of(expected, expected - 1) is not DayClass.WHOLE


# How colours look without one of the three cones: Machado, Oliveira and Fernandes 2009, severity 1, linear RGB.
_SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour: str, sight: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as somebody sees it."""
    rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = _XYZ @ np.clip(sight @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", _SIGHT)
def test_no_two_classes_look_alike(sight: str) -> None:
    seen = {kind: lab(paint.fill, _SIGHT[sight]) for kind, paint in paints(ALLOWANCE).items()}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    closest = min(apart, key=lambda pair: apart[pair])
    assert apart[closest] > 12, f"{closest} are {apart[closest]:.1f} apart"


def test_holes_grow_darker_and_none_is_as_light_as_a_whole_day() -> None:
    light = {kind: lab(paint.fill, np.eye(3))[0] for kind, paint in paints(ALLOWANCE).items()}
    holes = [light[kind] for kind in (DayClass.ALLOWED, DayClass.SOME, DayClass.MUCH, DayClass.MOST, DayClass.ALL)]
    assert holes == sorted(holes, reverse=True)
    assert light[DayClass.OUTAGE] < light[DayClass.WHOLE] - 20


def test_writing_on_a_day_can_be_read() -> None:
    for kind, paint in paints(ALLOWANCE).items():
        if kind is not DayClass.NOTHING:
            assert abs(lab(paint.fill, np.eye(3))[0] - lab(paint.ink, np.eye(3))[0]) > 40, kind
