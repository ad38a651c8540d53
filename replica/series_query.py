"""Requests for funding and the five-minute series as values, checked by the exchange's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replica.bars import INTERVAL_MS
from replica.query import number
from replica.refusal import Refusal, invalid_value, missing

FUNDING_LIMIT, FUNDING_MOST = 100, 1000
PERIOD_LIMIT, PERIOD_MOST = 30, 500
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")

START_LABELLED = "takerlongshortRatio"
"""The one series whose REST timestamp is the start of its period; the others' is the end."""


@dataclass(frozen=True, slots=True)
class FundingQuery:
    """A checked `fundingRate` request; bounds on the exchange's own time, **both inclusive**, None when not sent."""

    symbol: str | None
    start_ms: int | None
    end_ms: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class PeriodQuery:
    """A checked request for a path of `/futures/data/`; bounds on the timestamp as the series labels it, inclusive."""

    name: str
    symbol: str
    period_ms: int
    start_ms: int | None
    end_ms: int | None
    limit: int

    @property
    def start_labelled(self) -> bool:
        return self.name == START_LABELLED


def funding_query(params: Mapping[str, str]) -> FundingQuery:
    """A `fundingRate` request. `startTime=0` is read past, as on the exchange (seen in October 2026).

    Raises:
        Refusal: with the exchange's code for what is malformed.
    """
    limit = number(params, "limit")
    if limit is not None and not 1 <= limit <= FUNDING_MOST:
        raise invalid_value("limit")
    start_ms, end_ms = number(params, "startTime") or None, number(params, "endTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise Refusal(-1023, "Start time is greater than end time.")
    return FundingQuery(params.get("symbol") or None, start_ms, end_ms, limit or FUNDING_LIMIT)


def period_query(name: str, params: Mapping[str, str]) -> PeriodQuery:
    """A request for the series `name`.

    Raises:
        Refusal: with the exchange's code for what is missing or malformed.
    """
    for needed in ("symbol", "period"):
        if not params.get(needed):
            raise missing(needed)
    if params["period"] not in PERIODS:
        raise _invalid("period")
    limit = number(params, "limit")
    if limit is not None and not 1 <= limit <= PERIOD_MOST:
        raise _invalid("limit")
    start_ms, end_ms = number(params, "startTime"), number(params, "endTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise _invalid("startTime")
    period_ms = INTERVAL_MS[params["period"]]
    return PeriodQuery(name, params["symbol"], period_ms, start_ms, end_ms, limit or PERIOD_LIMIT)


def _invalid(name: str) -> Refusal:
    return Refusal(-1130, f"parameter '{name}' is invalid.")
