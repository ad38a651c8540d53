"""Spark for the tests: installed once a machine from pinned versions into the user's cache, run in its own process.

It is 450 MB, so it is no requirement of the project. Where it cannot be had (no Java 17, no package index), its tests
are skipped with one line, or fail when `REQUIRE_SPARK=1`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("requirements-spark.txt")
CACHE = Path.home() / ".cache" / "gapless" / "spark"
_INSTALL_S = 240
_QUERY_S = 200
_PROGRAM = """
import json, sys
from pyspark.sql import SparkSession

asked = json.loads(sys.argv[1])
builder = SparkSession.builder.master("local[1]").appName("gapless")
for name, value in asked["settings"].items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.read.option("mergeSchema", "true").parquet(asked["path"]).createOrReplaceTempView("bars")
found = [[None if value is None else str(value) for value in row] for row in spark.sql(asked["query"]).collect()]
with open(asked["answer"], "w") as answer:
    json.dump(found, answer)
spark.stop()
"""
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
}


class SparkUnavailable(Exception):
    """Spark cannot be had on this machine."""


def install() -> Path:
    """The folder of the pinned Spark, installed unless that was done before.

    Raises:
        SparkUnavailable: there is no Java 17 or newer, or the packages could not be fetched.
    """
    java = shutil.which("java")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False) if java else None
    found = re.search(r'version "(\d+)', told.stderr) if told else None
    if found is None or int(found.group(1)) < 17:
        raise SparkUnavailable("there is no Java 17 on this machine")
    place = CACHE / hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock", timeout=_INSTALL_S):
        if not place.exists():
            fresh = CACHE / "unfinished"
            _fetch(fresh)
            fresh.rename(place)
    return place


def _fetch(folder: Path) -> None:
    """By uv; by pip where uv is told less of the machine's mirrors than pip is."""
    uv = ["uv", "pip", "install", "--quiet", "--no-cache", "--python", sys.executable]
    pip = ["pip", "install", "--quiet", "--no-cache-dir"]
    said = ""
    for installer in (uv, pip):
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", *installer, "--no-deps", "--target", str(folder), "-r", str(PINNED)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise SparkUnavailable(f"its packages did not come within {_INSTALL_S} s") from None
        if done.returncode == 0:
            return
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
    raise SparkUnavailable(said)


def ask(query: str, parquet: Path, folder: Path) -> list[list[Any]]:
    """Rows of a query on the view `bars`, which is every Parquet file in a folder; values as text. One JVM a call."""
    answer = folder / "spark.json"
    settings = {**_SETTINGS, "spark.local.dir": str(folder / "spark"), "spark.sql.warehouse.dir": str(folder / "none")}
    asked = {"path": str(parquet), "query": query, "answer": str(answer), "settings": settings}
    path = str(install())
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": path, "SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"},
        capture_output=True, text=True, timeout=_QUERY_S, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[list[Any]] = json.loads(answer.read_text())
    return found


def unavailable(reason: SparkUnavailable) -> NoReturn:
    """Skip, or fail where Spark is required."""
    if os.environ.get("REQUIRE_SPARK") == "1":
        pytest.fail(f"Spark is required (REQUIRE_SPARK=1) and cannot be had: {reason}")
    pytest.skip(f"Spark: not run ({reason})")
