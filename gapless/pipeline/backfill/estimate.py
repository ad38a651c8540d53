"""What a backfill will take: counts from the books, and estimates from measured rates."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from gapless.domain.datasets import Dataset
from gapless.domain.window import DAY_MS, Window, next_month
from gapless.errors import StorageError
from gapless.exchanges.binance.paging import PAGE_ROWS, plan_pages
from gapless.pipeline.backfill.coverage import cover_request
from gapless.pipeline.backfill.pieces import Piece, count_expected
from gapless.pipeline.backfill.request import BackfillPlan, BackfillRequest
from gapless.pipeline.backfill.survey import Survey
from gapless.pipeline.runtime import Runtime

ZIP_BYTES_A_ROW = 60
"""Measured on 1m files of both markets: 50 (spot, 2020) to 62 (USD-M, 2024). Coarser bars are of the same size."""

LAKE_BYTES_A_ROW = 35
MYSQL_BYTES_A_ROW = 220
"""With the space that inserting in pieces leaves in pages."""

ROWS_A_MINUTE = {"mysql": 9_000_000, "lake": 24_000_000}
"""Of two cores (make bench); a download slower than the stores makes it longer."""

WEIGHT_A_MINUTE = 1_900
FUNDING_ROWS_A_DAY = 3
_SPARE = 1.2


def estimate(rt: Runtime, request: BackfillRequest, found: Survey) -> BackfillPlan:
    """The plan of a survey."""
    covered = cover_request(rt, request, found)
    rows = {"mysql": 0, "lake": 0}
    objects = weight = months = 0
    for series in found.series:
        if found.window is not None:
            months += sum(1 for month in found.window.split_months() if _lives_in(series.lives, month))
    for piece in found.pieces:
        count = _rows(piece)
        rows[piece.store] += count
        files, left = _sources(request, piece, found.now_ms, count)
        objects += files
        weight += left
    total = rows["mysql"] + rows["lake"]
    minutes = sum(rows[store] / ROWS_A_MINUTE[store] for store in rows)
    return BackfillPlan(
        series=len(found.series),
        months=months,
        bars_expected=sum(one.expected for one in covered),
        bars_present=sum(one.present + one.unfillable for one in covered),
        months_to_do=len(found.pieces),
        into_mysql=sum(piece.store == "mysql" for piece in found.pieces),
        into_lake=sum(piece.store == "lake" for piece in found.pieces),
        objects=objects,
        rows=total,
        bytes=total * ZIP_BYTES_A_ROW if request.source != "rest" else 0,
        weight=weight,
        minutes=round(max(minutes, weight / WEIGHT_A_MINUTE), 1),
        disk_bytes=rows["mysql"] * MYSQL_BYTES_A_ROW + rows["lake"] * LAKE_BYTES_A_ROW,
        errors=found.failures,
    )


def require_room(rt: Runtime, plan: BackfillPlan) -> None:
    """Refuse a backfill whose rows do not fit on the disks that are here.

    Looked at are the lake, when it is a folder, and `var/`, where the native start keeps its database and this engine
    its spool. Another machine's disk cannot be seen from here.

    Raises:
        StorageError: it would not fit; says how much is needed and how much is there.
    """
    needed = int(plan.disk_bytes * _SPARE)
    lake = urlsplit(rt.settings.lake)
    places = {_existing(rt.settings.var_dir)} | ({_existing(Path(lake.path))} if lake.scheme == "file" else set())
    for place in sorted(places):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise StorageError(
                f"not enough room: about {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free at {place}; "
                "take fewer symbols, intervals or months, or make room"
            )


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _lives_in(lives: tuple[Window, ...], month: Window) -> bool:
    return any(life.intersect(month) is not None for life in lives)


def _rows(piece: Piece) -> int:
    if piece.series.dataset is Dataset.FUNDING:
        return FUNDING_ROWS_A_DAY * -(-piece.window.length_ms // DAY_MS)
    return count_expected(piece.series, piece.window)


def _sources(request: BackfillRequest, piece: Piece, now_ms: int, rows: int) -> tuple[int, int]:
    """Archive files and request weight that a piece will take, as far as can be told beforehand."""
    market, step = piece.series.market, piece.series.step_ms
    days = -(-piece.window.length_ms // DAY_MS)
    if request.source == "rest" or step is None:
        if request.source != "rest":
            return 1, 0
        opens = range(0, rows * step, step) if step else range(0)
        return 0, sum(page.weight for page in plan_pages(market, opens))
    if piece.series.dataset is Dataset.METRICS:
        return days, 0
    if next_month(piece.month_ms) <= now_ms:
        return 1, 0
    unpublished = min(rows, DAY_MS // step * 2)
    pages = -(-unpublished // PAGE_ROWS[market])
    return max(0, days - 1), pages * 2
