"""A scene as SVG: text stays text, boxes tell their titles, and the same scene is the same bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from gapless.pipeline.calendar.scene import BACKGROUND, FAMILY, Box, Line, Scene, Words


def svg(scene: Scene) -> str:
    """The document, complete in itself: no script, no style sheet, no font from elsewhere."""
    return "\n".join(_document(scene)) + "\n"


def _document(scene: Scene) -> Iterator[str]:
    width, height = _number(scene.width), _number(scene.height)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" font-family="{FAMILY}, Verdana, sans-serif">'
    )
    yield f"<title>{escape(scene.title)}</title>"
    yield f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>'
    yield from map(_box, scene.boxes)
    yield from map(_line, scene.lines)
    yield from map(_words, scene.words)
    yield "</svg>"


def _box(box: Box) -> str:
    place = f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
    # A mark without a title lets the pointer through to the day that it lies on.
    if not box.title:
        return f'<rect {place} fill="{box.fill}" pointer-events="none"/>'
    return f'<rect {place} fill="{box.fill}"><title>{escape(box.title)}</title></rect>'


def _line(line: Line) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in line.points)
    return (
        f'<polyline points="{points}" fill="none" stroke="{line.stroke}" stroke-width="{_number(line.width)}"'
        ' pointer-events="none"/>'
    )


def _words(words: Words) -> str:
    weight = ' font-weight="bold"' if words.bold else ""
    anchor = "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
    return (
        f'<text x="{_number(words.x)}" y="{_number(words.y)}" font-size="{_number(words.size)}"{anchor}{weight}'
        f' fill={quoteattr(words.fill)} pointer-events="none">{escape(words.text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
