"""A scene into a file: SVG by our own hand, PNG by matplotlib, which is loaded for that alone."""

from __future__ import annotations

from pathlib import Path

from gapless.cli.files import whole_file
from gapless.errors import ConfigError
from gapless.pipeline.calendar import Scene, svg
from gapless.pipeline.calendar.scene import BACKGROUND, FAMILY

FORMS = (".png", ".svg")
_PIXELS_PER_INCH = 100
_POINTS_PER_PIXEL = 72 / _PIXELS_PER_INCH
_SHARPNESS = 1.5
_MOST_PIXELS = 30_000
"""Of a side of a PNG: more, and most programs refuse to show it."""


def picture_path(text: str) -> Path:
    """Where a picture is to go.

    Raises:
        ConfigError: the name ends neither in .png nor in .svg, or its folder does not exist.
    """
    path = Path(text)
    if path.suffix.lower() not in FORMS:
        raise ConfigError(f"--picture {text}: name a file that ends in {' or '.join(FORMS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--picture {text}: there is no folder {path.parent}; make it first")
    return path


def write_picture(scene: Scene, path: Path) -> None:
    """Write a scene in the form that the file's name asks for; the same scene gives the same bytes.

    Raises:
        ConfigError: a PNG is asked for and matplotlib is not installed.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".svg":
        with whole_file(path) as sink:
            sink.write(svg(scene).encode())
        return
    _write_png(scene, path)


def _write_png(scene: Scene, path: Path) -> None:
    try:
        from matplotlib import rc_context
        from matplotlib.collections import LineCollection, PolyCollection
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"{path}: a PNG needs matplotlib ({error}); pip install 'gapless[quality]', or name an .svg"
        ) from None
    largest = max(scene.width, scene.height)
    dpi = min(_PIXELS_PER_INCH * _SHARPNESS, _MOST_PIXELS / largest * _PIXELS_PER_INCH)
    with rc_context({"font.family": [FAMILY], "path.simplify": False, "text.parse_math": False}):
        figure = Figure(
            figsize=(scene.width / _PIXELS_PER_INCH, scene.height / _PIXELS_PER_INCH), dpi=dpi, facecolor=BACKGROUND
        )
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, scene.width)
        axes.set_ylim(scene.height, 0)
        corners = [
            ((b.x, b.y), (b.x + b.width, b.y), (b.x + b.width, b.y + b.height), (b.x, b.y + b.height))
            for b in scene.boxes
        ]
        axes.add_collection(PolyCollection(corners, facecolors=[b.fill for b in scene.boxes], linewidths=0))
        axes.add_collection(
            LineCollection(
                [line.points for line in scene.lines],
                colors=[line.stroke for line in scene.lines],
                linewidths=[line.width * _POINTS_PER_PIXEL for line in scene.lines],
            )
        )
        for words in scene.words:
            axes.text(
                words.x,
                words.y,
                words.text,
                fontsize=words.size * _POINTS_PER_PIXEL,
                fontweight="bold" if words.bold else "normal",
                color=words.fill,
                ha={"start": "left", "middle": "center", "end": "right"}[words.anchor],
                va="baseline",
            )
        with whole_file(path) as sink:
            # Without a date or a version: two pictures of the same days are the same file.
            figure.savefig(sink, format="png", metadata={"Software": None, "Title": scene.title})
