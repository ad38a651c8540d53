"""One whole native stack for the tests marked `stack`: a demonstration, with a DAG of its own beside the project's."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.config import Settings
from gapless.stack.layout import Layout
from gapless.stack.native import NativeStack

ROOT = Path(__file__).resolve().parents[2]
LOAD_DAG = '''
"""Fifty trivial tasks at once."""

from datetime import datetime, timezone

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, max_active_tasks=64)
def load_of_fifty():
    @task
    def one(number):
        return number

    one.expand(number=list(range(50)))


load_of_fifty()
'''


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    """The stack object; tests call `up` themselves, which is harmless when it is up."""
    folder = tmp_path_factory.mktemp("native")
    dags = folder / "dags"
    shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    (dags / "load_of_fifty.py").write_text(LOAD_DAG)
    lines: list[str] = []
    stack = NativeStack(Layout.of(ROOT, folder / "var"), environment=dict(os.environ), say=lines.append, dags=dags)
    yield stack
    stack.down()
    outside = stack.layout.postgresql
    if outside.is_relative_to("/var/lib/gapless"):
        shutil.rmtree(outside.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            outside.parent.parent.rmdir()


@pytest.fixture
def running(native: NativeStack) -> NativeStack:
    """The stack, up and healthy."""
    native.up(Settings(), "demo")
    return native
