"""The whole native stack ends: run after the other tests of it, so that it need not be started once more."""

from __future__ import annotations

import pytest

from gapless.stack import processes
from gapless.stack.native import NativeStack
from tests.stack.test_native import marked_processes

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def test_down_leaves_nothing(running: NativeStack) -> None:
    everyone = {(process.pid, process.started) for process in running.leftovers()}
    running.down()
    assert not everyone & {(process.pid, process.started) for process in processes.snapshot().values()}
    assert marked_processes(running) == []
    assert running.leftovers() == []
