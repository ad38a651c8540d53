"""What is stored held against the exchange, row by row, and put right.

`run_diff(rt, DiffRequest(...))` compares; with `fill=True` it repairs. `plan_diff` says what that costs, `cut_diff`
shares it out, `retry_gaps` makes the later attempts. The rooms: `request` (what is asked and answered), `slabs` (how it
is cut), `bars` and `series` (what the exchange has), `witness` (what its archive has), `judgement` (what differs),
`repair` (the stores put right), `closing` (the books), `engine` and `run` (all of it in order).
"""

from gapless.pipeline.reconcile.request import DiffPlan, DiffRequest, GapReport, GapRow, summed

__all__ = ["DiffPlan", "DiffRequest", "GapReport", "GapRow", "summed"]
