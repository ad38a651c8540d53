"""An installation that the DAGs' tasks find through the environment, as they do in earnest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gapless.config import load_settings
from tests.fixtures.mysql import Server, fresh_database
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, mysql_url


@contextmanager
def standing_installation(
    mysql_servers: Callable[[str], Server],
    replica: ReplicaHandle,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *symbols: str,
) -> Iterator[Installation]:
    """An empty installation on the replica, whose clock stands at 2026-11-15T12:30:30, with a watchlist of symbols."""
    watchlist = watch(folder, *symbols)
    with fresh_database(mysql_servers("mariadb")) as db:
        settings = load_settings(
            mysql_url=mysql_url(db),
            var_dir=folder / "var",
            lake_uri=f"file://{folder}/lake",
            symbols_file=watchlist,
            binance_spot_rest_url=replica.spot_rest,
            binance_um_rest_url=replica.um_rest,
            binance_vision_url=replica.vision,
        )
        found = Installation(settings, db, replica)
        for name, value in found.environment.items():
            if name.startswith("GAPLESS_"):
                monkeypatch.setenv(name, value)
        yield found


def watch(folder: Path, *symbols: str) -> Path:
    """Write the watchlist."""
    markets = {"spot": [s for s in symbols if ":" not in s], "um": [s for s in symbols if ":" in s]}
    lines = [f"  {market}: {names}" for market, names in markets.items() if names]
    watchlist = folder / "symbols.yaml"
    watchlist.write_text("\n".join(["markets:", *lines]), encoding="utf-8")
    return watchlist
