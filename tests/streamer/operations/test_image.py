"""The sidecar's own image has no Airflow, no pandas and no expectations: nothing of it may need them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("airflow", "pandas", "great_expectations", "matplotlib", "supervisor", "psycopg"):
            raise ModuleNotFoundError(f"{name} is not in the image")

sys.meta_path.insert(0, Refused())
import streamer
for module in pkgutil.walk_packages(streamer.__path__, "streamer."):
    importlib.import_module(module.name)
print(len(sys.modules))
"""


def test_every_module_of_the_sidecar_can_be_imported_with_what_its_image_has() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2_000:]
