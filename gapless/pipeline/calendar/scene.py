"""A drawing as values: boxes, lines and words at places. What writes it down knows nothing of what it shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle; `title` is shown when somebody points at it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text whose baseline begins, centres or ends at a place; sizes in pixels."""

    x: float
    y: float
    text: str
    size: float
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False
    fill: str = "#222222"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points."""

    points: tuple[Point, ...]
    stroke: str
    width: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawing: its size in pixels, y downwards, boxes below lines below words."""

    width: float
    height: float
    title: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    words: tuple[Words, ...]


FAMILY = "DejaVu Sans"
BACKGROUND = "#ffffff"


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is in that family: never much too little."""
    return len(text) * size * (0.7 if bold else 0.56)
