"""What the sidecar's process does without, and that it works all the same."""

from __future__ import annotations

import subprocess
import sys

WITH_A_DATABASE = """
import sys
from streamer.operations.command import run
from streamer.operations.imports import do_without_unused
do_without_unused()
do_without_unused()
import streamer.operations.serve, streamer.session, streamer.sql_stores
from gapless.domain.instrument import Market
from gapless.exchanges.binance.ccxt_import import ccxt_class
ccxt_class(Market.UM)
import pyarrow
assert pyarrow.array([1, 2]).to_pylist() == [1, 2]
absent = {"pandas", "opentelemetry", "requests", "urllib3", "boto3", "pyarrow.parquet", "pyarrow.fs", "pyarrow.dataset"}
assert not absent & sys.modules.keys(), absent & sys.modules.keys()
assert not [name for name in sys.modules if name.startswith("gapless.storage.lake")]
"""
WITHOUT_A_DATABASE = """
import sys
from streamer.operations.command import run
import streamer.operations.serve, streamer.session
assert not {"pyarrow", "numpy", "sqlalchemy"} & sys.modules.keys()
"""
AFTER_ALL = """
import pandas
from streamer.operations.imports import do_without_unused
do_without_unused()
import pandas.api.types, pandas.io.html
"""


def test_with_a_database_there_is_no_lake_and_nothing_that_is_unused() -> None:
    _runs(WITH_A_DATABASE)


def test_without_a_database_there_is_no_arrow() -> None:
    _runs(WITHOUT_A_DATABASE)


def test_what_is_imported_already_stays() -> None:
    _runs(AFTER_ALL)


def _runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
