"""Recorded funding and open interest: answers of the exchange kept as files, replayed row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gapless.domain.window import Window
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS
from replica.refusal import invalid_symbol
from replica.series_query import FundingQuery, PeriodQuery

_INTEREST = re.compile(r"openInterestHist-(?P<symbol>[^-]+)-(?P<period>\d+[mhd])")

Row = dict[str, Any]


class RecordedSeries:
    """Rows of `*fundingRate*.json`, `*fundingInfo*.json` and `*openInterestHist-SYMBOL-PERIOD*.json` below a folder.

    Where two recordings hold one row, the one with more to tell is served. Other series were not recorded: empty.

    Args:
        root: the folder.

    Raises:
        ConfigError: a file so named is no list of rows.
    """

    def __init__(self, root: Path) -> None:
        self._funding: dict[str, dict[int, Row]] = {}
        self._info: list[Row] = []
        self._interest: dict[tuple[str, int], dict[int, Row]] = {}
        for path in sorted(root.rglob("*fundingRate*.json")):
            for row in _rows(path, "fundingTime"):
                kept = self._funding.setdefault(row["symbol"], {})
                if len(row) >= len(kept.get(row["fundingTime"], ())):
                    kept[row["fundingTime"]] = row
        for path in sorted(root.rglob("*fundingInfo*.json")):
            self._info = _rows(path, "symbol")
        for path in sorted(root.rglob("*openInterestHist-*.json")):
            match = _INTEREST.search(path.name)
            if match and match["period"] in INTERVAL_MS:
                series = self._interest.setdefault((match["symbol"], INTERVAL_MS[match["period"]]), {})
                series.update((int(row["timestamp"]), row) for row in _rows(path, "timestamp"))

    def funding(self, query: FundingQuery, now_ms: int) -> list[str]:
        if query.symbol is not None and query.symbol not in self._funding:
            raise invalid_symbol()
        chosen = [query.symbol] if query.symbol is not None else sorted(self._funding)
        rows = sorted((at, symbol) for symbol in chosen for at in self._funding[symbol])
        first_ms = query.start_ms or 0
        last_ms = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
        kept = [(at, symbol) for at, symbol in rows if first_ms <= at <= last_ms]
        kept = kept[-query.limit :] if query.start_ms is None else kept[: query.limit]
        return [_text(self._funding[symbol][at]) for at, symbol in kept]

    def funding_info(self, now_ms: int) -> list[str]:
        return [_text(row) for row in self._info]

    def periods(self, query: PeriodQuery, now_ms: int) -> list[str]:
        if query.name != "openInterestHist":
            return []
        series = self._interest.get((query.symbol, query.period_ms), {})
        last_ms = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
        return [_text(series[at]) for at in sorted(series) if (query.start_ms or 0) <= at <= last_ms][-query.limit :]

    def archive_span(self, kind: str, symbol: str) -> Window | None:
        """None: recorded files of the archive are served as they are, others are not made up."""
        return None

    def archive_csv(self, kind: str, symbol: str, period: Window) -> bytes:
        """Nothing (see `archive_span`)."""
        return b""


def _rows(path: Path, key: str) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and key in row for row in rows):
        raise ConfigError(f"{path} is no list of rows with {key}")
    return rows


def _text(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
