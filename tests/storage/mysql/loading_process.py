"""A process that loads a file of bars, and can be told to die at a given point of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.storage.mysql import MySql, RefusedRow, load_bars, loader
from tests.storage.mysql.bars import draft_for

REFUSED = [RefusedRow("binance", "BTC/USDT:USDT", "1m", None, "json", "<html>")]

POINTS = ("put_refused", "read_stored", "put_restatements", "replace_rows", "put_receipt", "commit")
"""Steps of a load; a process dies just after the one it is told."""


def load_file(url: str, file: str, key: str, die_after: str | None, ready: Any, go: Any) -> None:
    """The body of the process: report ready, wait for the start, load."""
    with pa.ipc.open_file(file) as source:  # Parquet would load half of Arrow first
        bars = source.read_all()
    db = MySql(url)
    db.dialect  # noqa: B018  # connected before the start
    if die_after == "commit":
        load = loader.load_bars

        def load_and_die(*args: Any, **kwargs: Any) -> Any:
            load(*args, **kwargs)
            _die()

        loading: Callable[..., Any] = load_and_die
    else:
        loading = load_bars
        if die_after:
            setattr(loader, die_after, _dying(getattr(loader, die_after)))
    ready.release()
    go.wait(60)
    loading(db, bars, draft_for(bars, key=key), refused=REFUSED)


def _dying(step: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        _die()

    return wrapped


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def orphans(folder: Path) -> list[Path]:
    """Files that a killed load left in the folder for temporary ones."""
    return sorted(folder.glob("gapless-load-*"))
