"""Funding and the five-minute series behind one interface, and their rows as each wire writes them."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from gapless.domain.window import DAY_MS, Window, parse_time
from replica.funding import GeneratedFunding, Settlement
from replica.market import GeneratedMarket
from replica.metrics import SINCE_MS as METRICS_SINCE_MS
from replica.metrics import STEP_MS, VALUE_DECIMALS, GeneratedMetrics, Metrics, ratio
from replica.refusal import Refusal, invalid_symbol
from replica.series_query import FundingQuery, PeriodQuery
from replica.universe import Listing

RATE_TYPE_FROM_MS = parse_time("2026-07-28")
MARK_PRICE_FROM_MS = parse_time("2023-10-01")
FUNDING_FILES_FROM_MS = parse_time("2020-01-01")
START_LABELS_FROM_MS = parse_time("2026-06-25")
"""Archive metrics name a five minutes by its end before this day, by its start from it on."""

_OLDEST_MS = 30 * DAY_MS
_SOME_CAP = "BNB"

FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)


class Series(Protocol):
    """Funding and five-minute series at a moment of exchange time. Rows are JSON objects as text, oldest first."""

    def funding(self, query: FundingQuery, now_ms: int) -> list[str]:
        """The answer to `/fapi/v1/fundingRate`.

        Raises:
            Refusal: -1121 for a symbol that the market does not know.
        """

    def funding_info(self, now_ms: int) -> list[str]:
        """The answer to `/fapi/v1/fundingInfo`."""

    def periods(self, query: PeriodQuery, now_ms: int) -> list[str]:
        """The answer to a path of `/futures/data/`.

        Raises:
            Refusal: -1121 for a symbol that the market does not know, -1130 for a start more than 30 days ago.
        """

    def archive_span(self, kind: str, symbol: str) -> Window | None:
        """From the first to the last UTC day of which the archive has something of a kind."""

    def archive_csv(self, kind: str, symbol: str, period: Window) -> bytes:
        """A month of `fundingRate` or a day of `metrics` as the archive's text, header included."""


class GeneratedSeries:
    """The generated market's series."""

    def __init__(self, market: GeneratedMarket, universe: Iterable[Listing]) -> None:
        listings = tuple(universe)
        self._funding = GeneratedFunding(market, listings)
        self._metrics = GeneratedMetrics(market, listings)
        self._perpetuals = {listing.raw_symbol: listing for listing in listings if listing.market.value == "um"}

    def funding(self, query: FundingQuery, now_ms: int) -> list[str]:
        if query.symbol is not None and query.symbol not in self._perpetuals:
            raise invalid_symbol()
        symbols = [query.symbol] if query.symbol is not None else sorted(self._perpetuals)
        last_ms = now_ms if query.end_ms is None else min(query.end_ms, now_ms)
        newest = query.start_ms is None
        chosen: list[tuple[int, str]] = []
        for symbol in symbols:
            first_ms = self._first(query, symbol, last_ms)
            nominal = self._funding.times(symbol, first_ms - 1000, last_ms + 1)
            times = nominal + self._funding.late_ms(nominal)
            nominal = nominal[(times >= first_ms) & (times <= last_ms)]
            part = nominal[-query.limit :] if newest else nominal[: query.limit]
            chosen += [(at, symbol) for at in part.tolist()]
        kept = heapq.nlargest(query.limit, chosen) if newest else heapq.nsmallest(query.limit, chosen)
        rows: dict[tuple[int, str], Settlement] = {}
        for symbol in {symbol for _, symbol in kept}:
            wanted = sorted(at for at, of in kept if of == symbol)
            made = self._funding.settlements(symbol, np.array(wanted, dtype=np.int64))
            rows.update(((row.nominal_ms, symbol), row) for row in made)
        return [_funding_row(rows[key], now_ms) for key in sorted(kept)]

    def _first(self, query: FundingQuery, symbol: str, last_ms: int) -> int:
        """Where to begin: what was asked for, or far enough back for the newest `limit` of any funding interval."""
        if query.start_ms is not None:
            return query.start_ms
        delisted_ms = self._perpetuals[symbol].delisted_ms
        end_ms = last_ms if delisted_ms is None else min(last_ms, delisted_ms)
        return max(0, end_ms - (query.limit + 1) * DAY_MS // 3)

    def funding_info(self, now_ms: int) -> list[str]:
        rows = []
        for symbol, listing in self._perpetuals.items():
            hours = self._funding.hours(symbol, now_ms)
            if hours != 8 or listing.coin == _SOME_CAP:  # the rest is at the default and not listed
                cap = "0.02000000" if hours == 8 else "0.03000000"
                row = {
                    "symbol": symbol,
                    "adjustedFundingRateCap": cap,
                    "adjustedFundingRateFloor": f"-{cap}",
                    "fundingIntervalHours": hours,
                    "disclaimer": False,
                    "updateTime": max(listing.listed_ms, 1_697_703_073_725),
                }
                rows.append(_json(row))
        return rows

    def periods(self, query: PeriodQuery, now_ms: int) -> list[str]:
        if not self._metrics.knows(query.symbol):
            raise invalid_symbol()
        if query.start_ms is not None and query.start_ms < now_ms - _OLDEST_MS:
            raise Refusal(-1130, "parameter 'startTime' is invalid.")
        step, late = query.period_ms, 0 if query.start_labelled else query.period_ms
        end_ms = now_ms // step * step  # a period is there once it is over
        if query.end_ms is not None:
            end_ms = min(end_ms, (query.end_ms - late) // step * step + step)
        oldest_ms = max(now_ms - _OLDEST_MS, query.start_ms or 0)
        start_ms = max(-(-(oldest_ms - late) // step) * step, end_ms - query.limit * step)
        read = self._metrics.read(query.symbol, start_ms, end_ms)
        groups: dict[int, list[int]] = {}
        for at, start in enumerate(read.start_ms):
            groups.setdefault(start // step * step, []).append(at)
        make = _PERIOD_ROWS[query.name]
        return [_json(make(query.symbol, read, members, start + late)) for start, members in groups.items()]

    def archive_span(self, kind: str, symbol: str) -> Window | None:
        listing = self._perpetuals.get(symbol)
        if listing is None:
            return None
        since_ms = FUNDING_FILES_FROM_MS if kind == "fundingRate" else METRICS_SINCE_MS
        start_ms = max(listing.listed_ms // DAY_MS * DAY_MS, since_ms)
        end_ms = _FAR_MS if listing.delisted_ms is None else listing.delisted_ms
        return Window(start_ms, max(start_ms, -(-end_ms // DAY_MS) * DAY_MS))

    def archive_csv(self, kind: str, symbol: str, period: Window) -> bytes:
        if kind == "fundingRate":
            nominal = self._funding.times(symbol, period.start_ms, period.end_ms)
            rows = self._funding.settlements(symbol, nominal)
            return _text(FUNDING_HEADER, [f"{row.time_ms},{row.hours},{row.rate}" for row in rows])
        return _text(METRICS_HEADER, _metrics_lines(symbol, self._metrics.read(symbol, period.start_ms, period.end_ms)))


_FAR_MS = 4_102_444_800_000  # 2100-01-01


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _text(header: str, lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def _funding_row(row: Settlement, now_ms: int) -> str:
    mark = row.mark_price if row.nominal_ms >= MARK_PRICE_FROM_MS else ""
    told: dict[str, Any] = {
        "symbol": row.symbol,
        "fundingTime": row.time_ms,
        "fundingRate": row.rate,
        "markPrice": mark,
    }
    if now_ms >= RATE_TYPE_FROM_MS:
        told["rateType"] = "Regular"
    return _json(told)


def _share(share: int) -> str:
    return f"0.{share:04d}"


def _interest_row(symbol: str, read: Metrics, members: list[int], label_ms: int) -> dict[str, Any]:
    last = members[-1]
    return {
        "symbol": symbol,
        "sumOpenInterest": read.open_interest[last],
        "sumOpenInterestValue": read.open_interest_value[last],
        "CMCCirculatingSupply": f"{read.supply}.00000000",
        "timestamp": label_ms,
    }


def _ratio_row(name: str) -> Callable[[str, Metrics, list[int], int], dict[str, Any]]:
    def row(symbol: str, read: Metrics, members: list[int], label_ms: int) -> dict[str, Any]:
        long = getattr(read, name)[members[-1]]
        return {
            "symbol": symbol,
            "longShortRatio": ratio(long, 10_000 - long),
            "longAccount": _share(long),
            "shortAccount": _share(10_000 - long),
            "timestamp": label_ms,
        }

    return row


def _taker_row(symbol: str, read: Metrics, members: list[int], label_ms: int) -> dict[str, Any]:
    buy, sell = (sum(column[at] for at in members) for column in (read.taker_buy, read.taker_sell))
    return {
        "buySellRatio": ratio(buy, sell),
        "buyVol": f"{buy // 10_000}.{buy % 10_000:04d}",
        "sellVol": f"{sell // 10_000}.{sell % 10_000:04d}",
        "timestamp": label_ms,
    }


_PERIOD_ROWS = {
    "openInterestHist": _interest_row,
    "topLongShortAccountRatio": _ratio_row("top_account"),
    "topLongShortPositionRatio": _ratio_row("top_position"),
    "globalLongShortAccountRatio": _ratio_row("global_account"),
    "takerlongshortRatio": _taker_row,
}


def _metrics_lines(symbol: str, read: Metrics) -> list[str]:
    lines = []
    for at, start_ms in enumerate(read.start_ms):
        label_ms = start_ms if start_ms >= START_LABELS_FROM_MS else start_ms + STEP_MS
        label = datetime.fromtimestamp(label_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        shares = (read.top_account[at], read.top_position[at], read.global_account[at])
        ratios = [ratio(long, 10_000 - long) for long in shares] + [ratio(read.taker_buy[at], read.taker_sell[at])]
        interest = (_filled(text) for text in (read.open_interest[at], read.open_interest_value[at]))
        lines.append(",".join([label, symbol, *interest, *(f"{text}0000" for text in ratios)]))
    return lines


def _filled(text: str) -> str:
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(VALUE_DECIMALS, '0')}"
