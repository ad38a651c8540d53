"""What the sidecar's process does without."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_UNUSED = ("opentelemetry", "pandas")


class _Absent(MetaPathFinder):
    """Says that a package is not installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == self.name:
            raise ModuleNotFoundError(f"{fullname} is not used in the sidecar's process", name=fullname)
        return None


def do_without_unused() -> None:
    """Have libraries take it that pandas and OpenTelemetry are not installed, for the rest of this process.

    pyarrow (26.0, `pandas-shim.pxi`) imports pandas, where it is installed, as soon as it is handed a list, only to ask
    whether that is a Series: 34 MB and a tenth of a second in a process that uses none of it. redis (8.1,
    `observability`) imports OpenTelemetry's SDK, 4 MB, in case somebody switches its metrics on. Both know how to do
    without. What is imported already stays.
    """
    there = {each.name for each in sys.meta_path if isinstance(each, _Absent)}
    sys.meta_path[:0] = [_Absent(name) for name in _UNUSED if name not in sys.modules and name not in there]
