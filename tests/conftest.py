"""What every test shares: real servers, started once a run and used by all workers. Each lives in a file of its own."""

from __future__ import annotations

pytest_plugins = [
    "tests.fixtures.data",
    "tests.fixtures.mysql",
    "tests.fixtures.redis",
    "tests.fixtures.replica",
    "tests.fixtures.s3",
]
