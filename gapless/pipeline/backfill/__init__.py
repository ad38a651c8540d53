"""History: years of archive files and REST pages into MySQL and the lake, resumable, every bar accounted for.

`plan_backfill` says what would be done, `run_backfill` does it, `cut_batches` cuts it for workers.
"""

from gapless.pipeline.backfill.request import (
    BackfillPlan,
    BackfillReport,
    BackfillRequest,
    RejectedObject,
    SeriesCoverage,
    Watch,
)
from gapless.pipeline.backfill.run import cut_batches, plan_backfill, run_backfill

__all__ = [
    "BackfillPlan",
    "BackfillReport",
    "BackfillRequest",
    "RejectedObject",
    "SeriesCoverage",
    "Watch",
    "cut_batches",
    "plan_backfill",
    "run_backfill",
]
