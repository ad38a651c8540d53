"""A paged installation: its gap log, and who is paged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gapless.config import Settings
from gapless.domain.window import HOUR_MS, Window
from gapless.pipeline.paging import PagesReport, tell_of_gaps, tell_of_quality
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Gap, MySql, record_gaps
from tests.fixtures.pager import ROUTING_KEY, EventsReceiver
from tests.pipeline.conftest import mysql_url

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
HOUR = Window.of("2026-11-15T11:00", "2026-11-15T12:00")
LACKED = "the exchange has it, the stores do not"


def gap(
    symbol: str = BTC,
    window: Window = HOUR,
    *,
    state: str = "failed",
    cause: str = LACKED,
    dataset: str = "ohlcv",
    interval: str = "1m",
) -> Gap:
    bars = window.length_ms // 60_000 if dataset == "ohlcv" else 1
    return Gap("binance", symbol, dataset, interval, window, bars, state, cause, 3)


def hour(number: int) -> Window:
    """The hour that begins so many hours after `HOUR` does."""
    return Window(HOUR.start_ms + number * HOUR_MS, HOUR.end_ms + number * HOUR_MS)


@dataclass
class Paged:
    """An installation whose gaps are put on record by hand."""

    settings: Settings
    db: MySql
    said: list[str] = field(default_factory=list)

    def record(self, *gaps: Gap, looked: Sequence[tuple[str, Window]] = ()) -> None:
        """These gaps are there, and in what was looked at besides (by symbol, 1m) there are none."""
        for dataset in {each.dataset for each in gaps} or {"ohlcv"}:
            mine = [each for each in gaps if each.dataset == dataset]
            within = {(symbol, "1m"): [window] for symbol, window in looked} if dataset == "ohlcv" else {}
            record_gaps(self.db, mine, within=within, dataset=dataset)

    def open(self, **settings: Any) -> Any:
        return Runtime.open(self.settings.model_copy(update=settings), say=self.said.append)

    def tell(self, **settings: Any) -> PagesReport:
        with self.open(**settings) as rt:
            return tell_of_gaps(rt)

    def quality(self, day: str, *, bad: bool, summary: str = "3 rules failed", **settings: Any) -> PagesReport:
        with self.open(**settings) as rt:
            return tell_of_quality(
                rt,
                f"quality:{day}",
                bad=bad,
                summary=summary,
                detail={"rules": ["unique key"]},
                link="https://ui/run/1",
            )

    def log(self) -> list[tuple[str, str, str | None, bool]]:
        """Symbol, state, page and whether the sending is noted, of every gap on record."""
        with self.db.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT symbol, state, page_key, page_sent_at IS NOT NULL FROM data_gap_log ORDER BY symbol, gap_start"
            )
            return [(row[0], row[1], row[2], bool(row[3])) for row in rows]

    def states(self) -> dict[str, str]:
        with self.db.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT page_key, state FROM page")}


@pytest.fixture
def unpaged(mariadb_database: MySql, tmp_path: Any) -> Paged:
    """An installation that pages nobody."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        mysql_url=mysql_url(mariadb_database),  # type: ignore[arg-type]
        var_dir=tmp_path / "var",
        lake_uri=f"file://{tmp_path}/lake",
        storage_patience_s=20,
    )
    assert settings.pagerduty_routing_key is None
    assert settings.alertmanager_url is None
    return Paged(settings, mariadb_database)


@pytest.fixture
def paged(unpaged: Paged, events_receiver: EventsReceiver) -> Paged:
    """An installation that pages `events_receiver`."""
    from pydantic import SecretStr

    update = {"pagerduty_url": events_receiver.url, "pagerduty_routing_key": SecretStr(ROUTING_KEY)}
    return Paged(unpaged.settings.model_copy(update=update), unpaged.db)
