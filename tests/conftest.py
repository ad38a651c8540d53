"""What every test shares: real servers, started once a run and used by all workers. Each lives in a file of its own."""

from __future__ import annotations

import os

import hypothesis

pytest_plugins = [
    "tests.fixtures.data",
    "tests.fixtures.mysql",
    "tests.fixtures.pager",
    "tests.fixtures.redis",
    "tests.fixtures.replica",
    "tests.fixtures.live",  # after those it imports
    "tests.fixtures.s3",
]

# A loaded machine must never decide a test, so Hypothesis counts examples and not milliseconds.
hypothesis.settings.register_profile("gapless", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("gapless")


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: many tests wait for a server, a kill or a clock."""
    return len(os.sched_getaffinity(0)) + 1
