"""What the rows of the time series must keep: bars, funding settlements, futures metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.schema import Source
from gapless.quality.expectations.rules import AtLeast, Columns, Rows, Suite
from gapless.quality.rules import PRICES

_SOURCES = ", ".join(str(int(source)) for source in Source)
_SECONDS = "CASE `interval` " + " ".join(f"WHEN '{i}' THEN {i.ms // 1000}" for i in Interval) + " END"
_AVERAGE_SLACK = "0.001"


def _columns(shape: Shape) -> Columns:
    names = (*shape.schema.names, "receipt_id")
    return Columns("columns", "the table has the columns that every reader and writer expects", names)


def _against(row: Mapping[str, str], name: str, word: str, others: Sequence[str], *, above: bool) -> str:
    """`high 5 is below open 6`, and whatever else it is below."""
    mine = Decimal(row[name])
    wrong = [other for other in others if (Decimal(row[other]) > mine if above else Decimal(row[other]) < mine)]
    return f"{name} {row[name]} is {word} " + " and ".join(f"{other} {row[other]}" for other in wrong)


def _unknown_symbol() -> Rows:
    return Rows(
        "known_symbol",
        "every symbol is an instrument of the exchange, today or once (table instrument_life)",
        query=(
            "SELECT s.symbol, s.held FROM (SELECT exchange, symbol, COUNT(*) AS held FROM {batch} AS b "
            "GROUP BY exchange, symbol) AS s LEFT JOIN instrument_life AS l "
            "ON l.exchange = s.exchange AND l.symbol = s.symbol "
            "WHERE l.symbol IS NULL"
        ),
        say="{held} rows are stored of it, and it has no lifetime on record; run `gapless coverage` for it",
        label=("symbol",),
    )


def _unknown_receipt() -> Rows:
    return Rows(
        "known_receipt",
        "every row names the load that brought it (table load_receipt)",
        query=(
            "SELECT s.receipt_id, s.held FROM (SELECT receipt_id, COUNT(*) AS held FROM {batch} AS b "
            "WHERE receipt_id <> 0 GROUP BY receipt_id) AS s LEFT JOIN load_receipt AS l ON l.id = s.receipt_id "
            "WHERE l.id IS NULL"
        ),
        say="{held} rows name a load that is not on record: they were not written by Gapless",
        label=("receipt_id",),
    )


def _unknown_source() -> Rows:
    return Rows(
        "known_source",
        "the source is one of the documented codes (1 REST, 2 archive, 3 stream)",
        f"source NOT IN ({_SOURCES})",
        "source {source} means nothing",
    )


def _holes_known() -> Rows:
    found = (
        "SELECT s.symbol, s.`interval`, s.held, s.whole FROM (SELECT exchange, symbol, `interval`, COUNT(*) "  # noqa: S608
        "AS held, 86400 DIV (" + _SECONDS + ") AS whole, DATE(MIN(ts)) AS day FROM {batch} AS b "
        "GROUP BY exchange, symbol, `interval`) AS s "
        "JOIN instrument_life AS l ON l.exchange = s.exchange AND l.symbol = s.symbol AND l.listed_at <= s.day "
        "AND (l.delisted_at IS NULL OR l.delisted_at >= s.day + INTERVAL 1 DAY) "
        "LEFT JOIN data_gap_log AS g ON g.exchange = s.exchange AND g.symbol = s.symbol "
        "AND g.dataset = 'ohlcv' AND g.`interval` = s.`interval` AND g.state <> 'filled' "
        "AND g.gap_start < s.day + INTERVAL 1 DAY AND g.gap_end > s.day "
        "WHERE s.held < s.whole AND g.id IS NULL"
    )
    return Rows(
        "holes_known",
        "a series that is short of bars, of an instrument that lived all day, has its holes in the gap log",
        query=found,
        say="{held} of {whole} bars are stored, and no gap is on record; run `gapless gaps` over the day",
        severity="warning",
        label=("symbol", "interval"),
    )


OHLCV = Suite(
    "ohlcv",
    "ohlcv",
    "Bars",
    "the bars that open on the day, all symbols and intervals",
    ("symbol", "interval", "ts"),
    (
        AtLeast("stored", "bars are stored of the day", 1, "no bar of the day is stored; backfill it"),
        _columns(SHAPES[Dataset.OHLCV]),
        _unknown_symbol(),
        _unknown_receipt(),
        _unknown_source(),
        Rows(
            "alignment",
            "bars open on the grid of their interval, counted from midnight UTC",
            f"TIME_TO_SEC(TIME(ts)) % ({_SECONDS}) <> 0",
            "no {interval} bar opens then",
        ),
        Rows(
            "price",
            "open, high, low and close are above zero (quote asset for one of the base asset)",
            "open <= 0 OR high <= 0 OR low <= 0 OR close <= 0",
            "open {open}, high {high}, low {low}, close {close}: not all above zero",
        ),
        Rows(
            "high",
            "high is at least open, low and close",
            "high < GREATEST(open, low, close)",
            lambda row: _against(row, "high", "below", ("open", "close", "low"), above=True),
            needs=PRICES,
        ),
        Rows(
            "low",
            "low is at most open and close",
            "low > LEAST(open, close)",
            lambda row: _against(row, "low", "above", ("open", "close"), above=False),
            needs=PRICES,
        ),
        Rows(
            "volume",
            "volumes are zero or more (base asset; quote volumes in the quote asset)",
            "volume < 0 OR quote_volume < 0 OR taker_buy_volume < 0 OR taker_buy_quote_volume < 0",
            "volume {volume}, quote volume {quote_volume}, taker's {taker_buy_volume} and {taker_buy_quote_volume}",
        ),
        Rows(
            "taker",
            "what takers bought is no more than what was traded",
            "taker_buy_volume > volume OR taker_buy_quote_volume > quote_volume",
            "takers bought {taker_buy_volume} of {volume} (base), {taker_buy_quote_volume} of {quote_volume} (quote)",
        ),
        Rows(
            "average_price",
            "the average price of the trades (quote volume through volume) lies between low and high, to a thousandth",
            f"volume > 0 AND (quote_volume < low * volume * (1 - {_AVERAGE_SLACK}) - 0.00000001 * (trades + 1) "
            f"OR quote_volume > high * volume * (1 + {_AVERAGE_SLACK}) + 0.00000001 * (trades + 1))",
            "{quote_volume} was paid for {volume}, on average outside low {low} to high {high}",
            severity="warning",
        ),
        Rows(
            "without_trades",
            "a bar without trades has no volume and one price, and a bar with volume has trades",
            "(trades = 0 AND (volume <> 0 OR open <> high OR open <> low OR open <> close)) "
            "OR (trades > 0 AND volume = 0)",
            "{trades} trades, volume {volume}, open {open}, high {high}, low {low}, close {close}",
            severity="warning",
        ),
        _holes_known(),
    ),
)
"""`source` and `receipt_id` included; rows that only the lake holds have receipt 0, for it keeps none."""

FUNDING = Suite(
    "funding_rate",
    "funding_rate",
    "Funding settlements",
    "the settlements of the day, all perpetuals",
    ("symbol", "rate_type", "ts"),
    (
        AtLeast("stored", "settlements are stored of the day", 1, "no settlement of the day is stored; run funding_etl",
                severity="warning"),
        _columns(SHAPES[Dataset.FUNDING]),
        _unknown_symbol(),
        _unknown_receipt(),
        _unknown_source(),
        Rows(
            "perpetual",
            "only perpetuals have funding (their symbols end in a colon and the settlement asset)",
            "LOCATE(':', symbol) = 0",
            "not a perpetual",
        ),
        Rows("minute", "the nominal time is a whole minute, UTC", "SECOND(ts) <> 0", "not a whole minute"),
        Rows(
            "nominal_time",
            "the exchange's own time is within half a minute of the nominal time",
            "ABS(TIMESTAMPDIFF(MICROSECOND, ts, exchange_ts)) > 30000000",
            "the exchange's own time is {exchange_ts}",
        ),
        Rows(
            "rate",
            "a regular rate is at most 5 % of the position in one settlement",
            "rate_type = 'Regular' AND ABS(rate) > 0.05",
            "the rate is {rate}",
            severity="warning",
        ),
        Rows(
            "interval",
            "settlements are 1, 2, 4 or 8 hours apart, where the source says",
            "interval_hours IS NOT NULL AND interval_hours NOT IN (1, 2, 4, 8)",
            "the interval is {interval_hours} hours",
            severity="warning",
        ),
        Rows(
            "mark_price",
            "the mark price is above zero, where the source says it (quote asset)",
            "mark_price IS NOT NULL AND mark_price <= 0",
            "the mark price is {mark_price}",
        ),
    ),
)  # fmt: skip

_METRICS = tuple(SHAPES[Dataset.METRICS].values)

METRICS = Suite(
    "futures_metrics",
    "futures_metrics",
    "Futures metrics",
    "the five-minute open interest and ratios of the day, all perpetuals",
    ("symbol", "ts"),
    (
        AtLeast("stored", "metrics are stored of the day", 1, "no metrics of the day are stored; run "
                "futures_metrics_etl", severity="warning"),
        _columns(SHAPES[Dataset.METRICS]),
        _unknown_symbol(),
        _unknown_receipt(),
        _unknown_source(),
        Rows("perpetual", "only perpetuals have open interest", "LOCATE(':', symbol) = 0", "not a perpetual"),
        Rows(
            "alignment",
            "times are whole five minutes, UTC, the start of what is measured",
            "TIME_TO_SEC(TIME(ts)) % 300 <> 0",
            "not a whole five minutes",
        ),
        Rows(
            "not_negative",
            "open interest (base and quote asset) and ratios are zero or more",
            " OR ".join(f"COALESCE({name}, 0) < 0" for name in _METRICS),
            ", ".join(f"{name} {{{name}}}" for name in _METRICS),
        ),
        Rows(
            "value",
            "open interest and its value in the quote asset are both zero, or neither",
            "(open_interest = 0) <> (open_interest_value = 0)",
            "open interest {open_interest}, its value {open_interest_value}",
            severity="warning",
        ),
        Rows(
            "not_blank",
            "at least one of the six figures is there",
            " AND ".join(f"{name} IS NULL" for name in _METRICS),
            "the exchange left all six blank",
            severity="warning",
        ),
    ),
)  # fmt: skip

SERIES: tuple[Suite, ...] = (OHLCV, FUNDING, METRICS)
