"""What the sidecar's process does without."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_UNUSED = "pandas"


class _Absent(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _UNUSED:
            raise ModuleNotFoundError(f"{fullname} is not used in the sidecar's process", name=fullname)
        return None


def do_without_pandas() -> None:
    """Have pyarrow take it that pandas is not installed, for the rest of this process.

    pyarrow (26.0, `pandas-shim.pxi`) imports pandas, where it is installed, as soon as it is handed a list, only to ask
    whether that is a Series: 34 MB and a tenth of a second in a process that uses none of it. It knows how to do
    without. What is imported already stays.
    """
    if _UNUSED not in sys.modules and not any(isinstance(each, _Absent) for each in sys.meta_path):
        sys.meta_path.insert(0, _Absent())
