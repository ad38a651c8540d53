"""The calendar of completeness: day by day and month by month what is stored of what should be, and how to draw it.

`Ledger` takes in series; its panels are the days of a market and interval; `months_of` sums them by month; `draw` lays
them out as a scene, and `svg` writes a scene down.
"""

from gapless.pipeline.calendar.days import Ledger, Panel, trimmed
from gapless.pipeline.calendar.months import Allowance, MonthRow, months_of
from gapless.pipeline.calendar.picture import draw
from gapless.pipeline.calendar.scene import Scene
from gapless.pipeline.calendar.svg import svg

__all__ = ["Allowance", "Ledger", "MonthRow", "Panel", "Scene", "draw", "months_of", "svg", "trimmed"]
