"""An export killed with SIGKILL at each of its steps: no reader ever misses a row, and the next run finishes the work.

The process dies right after its n-th call into a store. To have many deaths for the price of one start, a process that
has imported everything forks a child for each of them, before it has any connection or thread.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.pipeline.export import leave, run, run_export
from gapless.pipeline.runtime import Runtime
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import MakeInstallation
from tests.pipeline.export.stage import JULY, Quiet, everything, export, fill, has_left

STEPS = ("put_export", "bring", "exchange_out", "prove", "drop_twin", "move_months", "fold_empty_months", "read_origin")
"""Functions of the export's own steps after which it may die; each call of each is a point of its own."""


def exporting(settings: Settings, die_at: int | None, told: Any) -> None:
    """The child's body: export, and die after so many steps; tells how many it took when it lives."""
    taken = 0

    def counting(step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal taken
            result = step(*args, **kwargs)
            taken += 1
            if taken == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for name in STEPS:
        setattr(leave, name, counting(getattr(leave, name)))
    with Runtime.open(settings, say=lambda line: None) as rt:
        original = rt.lake.bring
        object.__setattr__(rt.lake, "bring", counting(original))  # each object of the lake is a point too
        run_export(rt, Dataset.OHLCV, JULY, drop=True, watch=Quiet())
    told.put(taken)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_step_nothing_is_lost_and_the_next_run_finishes(
    make_installation: MakeInstallation, replica: ReplicaHandle, kind: str
) -> None:
    installation = make_installation(replica, kind=kind)
    truth = fill(installation, intervals="1h")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE saved AS SELECT * FROM ohlcv WHERE ts < '2026-08-01'")
    installation.db.close()  # a fork must not share connections
    context = mp.get_context("fork")
    told = context.SimpleQueue()
    kills = 0
    step = 1 if kind == "mariadb" else 3  # the steps are the same on both; three times fewer deaths show it
    for point in range(1, 90, step):
        child = context.Process(target=exporting, args=(installation.settings, point, told))
        child.start()
        child.join(60)
        if child.exitcode == 0:
            break  # it took fewer steps than that
        assert child.exitcode == -signal.SIGKILL, f"point {point}: {child.exitcode}"
        kills += 1
        assert everything(installation) == truth, f"killed after step {point}: a reader sees something else"
        export(installation)
        has_left(installation, truth)
        _begin_anew(installation)
    assert told.get() // step <= kills
    assert kills * step >= 12
    has_left(installation, truth)


def _begin_anew(installation: Any) -> None:
    """July back into MySQL as it was, the lake and the book empty."""
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM month_export")
        connection.exec_driver_sql("DELETE FROM archive_receipt WHERE period_start < '2026-08-01'")
        connection.exec_driver_sql("DELETE FROM archive_series WHERE day < '2026-08-01'")
    for path in installation.lake.glob("ohlcv/binance-*-2026-07*"):
        path.unlink()
    from gapless.storage.mysql.partitions import ensure_months

    ensure_months(installation.db, "ohlcv", [JULY])
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO ohlcv SELECT * FROM saved")
    installation.db.close()


def test_the_steps_that_may_kill_are_those_of_the_export() -> None:
    assert all(hasattr(leave, name) for name in STEPS)
    assert run.let_go is leave.let_go
