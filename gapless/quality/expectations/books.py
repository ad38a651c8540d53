"""What the books of the market and of its flaws must keep: instruments, gaps, restatements, refusals, checks, pages."""

from __future__ import annotations

from gapless.quality.expectations.columns import dataset, dataset_or_stream, one_of, sha256
from gapless.quality.expectations.rules import AtLeast, Rows, Suite

INSTALLATION = Suite(
    "installation",
    "installation",
    "The installation",
    "all rows (there is one)",
    ("id",),
    (
        AtLeast("one", "an installation has one origin", 0, "more than one origin", at_most=1),
        Rows(
            "origin",
            "the origin is binance, or replica:<seed> for a generated market",
            "origin <> 'binance' AND origin NOT LIKE 'replica:_%'",
            "the origin is {origin}",
        ),
    ),
)

INSTRUMENT = Suite(
    "instrument",
    "instrument",
    "Instruments",
    "all rows",
    ("symbol",),
    (
        AtLeast("listed", "instruments are on record", 1, "none is: run instruments_daily"),
        one_of("market", "market", "'spot', 'um'", "the market is spot or um"),
        Rows(
            "notation",
            "perpetuals end in a colon and the settlement asset, spot pairs do not; both begin with base/quote",
            "(market = 'um') <> (LOCATE(':', symbol) > 0) OR LOCATE(CONCAT(base, '/', quote), symbol) <> 1",
            "market {market}, base {base}, quote {quote}",
        ),
        Rows("raw_symbol", "the exchange's own name is known", "raw_symbol = ''", "no raw symbol"),
        Rows("status", "the exchange's status is known", "status = ''", "no status"),
        Rows(
            "steps",
            "price tick (quote asset) and quantity step (base asset) are above zero where they are known",
            "tick_size <= 0 OR step_size <= 0",
            "tick {tick_size}, step {step_size}",
        ),
        Rows(
            "multiplier",
            "the contract multiplier is at least 1",
            "contract_multiplier < 1",
            "multiplier {contract_multiplier}",
        ),
        Rows(
            "life",
            "a life ends after it begins",
            "delisted_at <= listed_at",
            "listed {listed_at}, delisted {delisted_at}",
        ),
        Rows(
            "lifetime_known",
            "an instrument has its lifetime on record (table instrument_life)",
            query=(
                "SELECT s.symbol FROM {batch} AS s LEFT JOIN instrument_life AS l "
                "ON l.exchange = s.exchange AND l.symbol = s.symbol WHERE l.symbol IS NULL"
            ),
            say="no lifetime is on record, so nothing is expected of it",
            severity="warning",
        ),
    ),
)

INSTRUMENT_LIFE = Suite(
    "instrument_life",
    "instrument_life",
    "Lifetimes of instruments",
    "all rows",
    ("symbol", "listed_at"),
    (
        Rows("order", "a life ends after it begins", "delisted_at <= listed_at", "delisted {delisted_at}"),
        Rows(
            "apart",
            "two lives of one symbol do not overlap",
            query=(
                "SELECT l.symbol, l.listed_at, l.delisted_at, l.next_at FROM (SELECT symbol, listed_at, delisted_at, "
                "LEAD(listed_at) OVER (PARTITION BY exchange, symbol ORDER BY listed_at) AS next_at FROM {batch}) AS l "
                "WHERE l.next_at IS NOT NULL AND (l.delisted_at IS NULL OR l.delisted_at > l.next_at)"
            ),
            say="delisted {delisted_at}, and listed again {next_at}",
        ),
        Rows("raw_symbol", "the exchange's own name is known", "raw_symbol = ''", "no raw symbol"),
    ),
)

DATA_GAP_LOG = Suite(
    "data_gap_log",
    "data_gap_log",
    "Gaps",
    "gaps that touch the day, gaps that changed on the day, and all that are not closed",
    ("dataset", "symbol", "interval", "gap_start"),
    (
        dataset(),
        Rows("window", "a gap ends after it begins", "gap_end <= gap_start", "it ends {gap_end}"),
        one_of(
            "state",
            "state",
            "'open', 'refilling', 'filled', 'unfillable', 'failed'",
            "the state is open, refilling, filled, unfillable or failed",
        ),
        Rows("bars", "a gap lacks rows", "bars < 1", "{bars} rows"),
        Rows("attempts", "attempts are zero or more", "attempts < 0", "{attempts} attempts"),
        Rows(
            "explained",
            "a gap that cannot be filled says why",
            "state IN ('unfillable', 'failed') AND cause = ''",
            "{state}, and no cause",
        ),
        Rows(
            "not_failed",
            "no gap waits for a person",
            "state = 'failed'",
            "{bars} rows could not be filled: {cause}",
            severity="warning",
        ),
        Rows(
            "not_stale",
            "an open gap is closed within two days",
            "state IN ('open', 'refilling') AND noticed_at < UTC_TIMESTAMP() - INTERVAL 2 DAY",
            "{state} since {noticed_at}: run `gapless gaps --fill` over it",
            severity="warning",
        ),
    ),
)

RESTATEMENT = Suite(
    "restatement",
    "restatement",
    "Restated rows",
    "rows of the day, and restatements noticed on the day",
    ("dataset", "symbol", "interval", "ts"),
    (
        dataset(),
        one_of("store", "store", "'mysql', 'lake'", "the store is MySQL or the lake"),
        Rows(
            "values",
            "old and new values are JSON objects, and differ",
            "NOT JSON_VALID(old_values) OR NOT JSON_VALID(new_values) OR old_values = new_values",
            "old {old_values}, new {new_values}",
        ),
        Rows(
            "source",
            "sources are documented codes (1 REST, 2 archive, 3 stream)",
            "old_source NOT IN (1, 2, 3) OR new_source NOT IN (1, 2, 3)",
            "old source {old_source}, new source {new_source}",
        ),
    ),
)

QUARANTINE = Suite(
    "quarantine",
    "quarantine",
    "Refused rows",
    "rows of the day, and rows refused on the day",
    ("dataset", "symbol", "interval", "ts"),
    (
        dataset_or_stream(),
        Rows("reason", "a refused row has its reason", "reason = ''", "no reason"),
        Rows("payload", "a refused row is kept as it came", "payload = ''", "no payload"),
        sha256("identity"),
    ),
)

REVIEW = Suite(
    "review",
    "review",
    "Rows for a person's yes or no",
    "rows of the day, rows noticed or decided on the day, and all that wait",
    ("dataset", "symbol", "interval", "ts"),
    (
        dataset(),
        one_of(
            "state",
            "state",
            "'waiting', 'accepted', 'rejected', 'superseded'",
            "the state is waiting, accepted, rejected or superseded",
        ),
        Rows(
            "decided",
            "a decision has its time and its author, and what waits has none",
            "(state = 'waiting') <> (decided_at IS NULL) OR (state IN ('accepted', 'rejected') AND decided_by = '')",
            "{state}, decided {decided_at} by {decided_by}",
        ),
        Rows("values", "the row is kept as it was, a JSON object", "NOT JSON_VALID(row_values)", "not JSON"),
        Rows(
            "not_stale",
            "a row waits for a decision no longer than a week",
            "state = 'waiting' AND noticed_at < UTC_TIMESTAMP() - INTERVAL 7 DAY",
            "{rule}: measured {measured}, allowed {allowed}; waits since {noticed_at}",
            severity="warning",
        ),
    ),
)

PAGE = Suite(
    "page",
    "page",
    "Pages",
    "pages of the day, and all that are open",
    ("page_key",),
    (
        one_of(
            "state",
            "state",
            "'sending', 'sent', 'resolving', 'resolved'",
            "the state is sending, sent, resolving or resolved",
        ),
        Rows(
            "times",
            "what was sent has its time, and is resolved after that",
            "(state = 'sent' AND sent_at IS NULL) OR resolved_at < sent_at",
            "{state}, sent {sent_at}, resolved {resolved_at}",
        ),
        Rows(
            "delivered",
            "a page is delivered within an hour",
            "state IN ('sending', 'resolving') AND created_at < UTC_TIMESTAMP() - INTERVAL 1 HOUR AND sent_at IS NULL",
            "still {state}, made {created_at}: is the receiver away?",
            severity="warning",
        ),
    ),
)

CHECK_RUN = Suite(
    "check_run",
    "check_run",
    "Checks",
    "checks of the day, and checks done on the day",
    ("kind", "dataset", "window_start"),
    (
        one_of("state", "state", "'clean', 'dirty', 'failed'", "the state is clean, dirty or failed"),
        Rows("result", "what was found is a JSON object", "NOT JSON_VALID(result)", "not JSON"),
        Rows(
            "order",
            "windows and runs end after they begin",
            "window_end <= window_start OR finished_at < started_at",
            "window to {window_end}, run {started_at} to {finished_at}",
        ),
    ),
)

COUNTER = Suite(
    "counter",
    "counter",
    "Totals",
    "all rows",
    ("name", "labels"),
    (
        Rows("total", "totals are zero or more", "total < 0", "{total}"),
        Rows("labels", "labels are a JSON object", "NOT JSON_VALID(labels)", "not JSON"),
    ),
)


LIQUIDATION = Suite(
    "liquidation",
    "liquidation",
    "Liquidations",
    "the day",
    ("symbol", "ts", "sequence"),
    (
        one_of("side", "side", "'BUY', 'SELL'", "the side is BUY or SELL"),
        Rows("perpetual", "only perpetuals are liquidated", "LOCATE(':', symbol) = 0", "not a perpetual"),
        Rows(
            "positive",
            "quantity (base asset) and price (quote asset) are above zero",
            "quantity <= 0 OR price <= 0 OR average_price < 0 OR last_quantity < 0 OR accumulated_quantity < 0",
            "quantity {quantity} at {price}, average {average_price}, "
            "last {last_quantity}, in all {accumulated_quantity}",
        ),
        Rows(
            "told",
            "it was told after it happened, and within a minute",
            "event_at < ts OR event_at > ts + INTERVAL 1 MINUTE",
            "told {event_at}",
            severity="warning",
        ),
        sha256("identity"),
    ),
)

BOOKS: tuple[Suite, ...] = (
    INSTALLATION,
    INSTRUMENT,
    INSTRUMENT_LIFE,
    DATA_GAP_LOG,
    RESTATEMENT,
    QUARANTINE,
    REVIEW,
    CHECK_RUN,
    PAGE,
    LIQUIDATION,
    COUNTER,
)
