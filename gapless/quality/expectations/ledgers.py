"""What the books of work done must keep: receipts of loads, the lake's objects, the archive's files, completeness."""

from __future__ import annotations

from gapless.quality.expectations.columns import (
    INTERVALS,
    dataset,
    dataset_or_stream,
    not_negative,
    one_of,
    sha256,
)
from gapless.quality.expectations.rules import Rows, Suite

LOAD_RECEIPT = Suite(
    "load_receipt",
    "load_receipt",
    "Receipts of loads",
    "loads of a window that touches the day, and loads made on the day",
    ("dataset", "market", "window_start", "batch_key"),
    (
        Rows("window", "a window ends after it begins", "window_end <= window_start", "it ends {window_end}"),
        Rows(
            "sum",
            "every row became one of: loaded, restated, unchanged, outranked",
            "`rows` <> loaded + restated + `unchanged` + outranked",
            "{rows} rows, {loaded} loaded, {restated} restated, {unchanged} unchanged, {outranked} outranked",
        ),
        not_negative("counts of rows are zero or more", "loaded", "restated", "unchanged", "outranked", "quarantined"),
        sha256("digest", "scope"),
        one_of("market", "market", "'spot', 'um'", "the market is spot or um"),
        Rows(
            "scope_known",
            "which series a receipt covers, if any (a repair covers none), is on record (table load_scope)",
            query=(
                "SELECT s.dataset, s.market, s.window_start, s.batch_key FROM {batch} AS s LEFT JOIN load_scope AS l "
                "ON l.scope = s.scope WHERE l.scope IS NULL AND s.scope <> SHA2('[]', 256)"
            ),
            say="which series it covers is not on record",
        ),
        Rows(
            "archived",
            "a load that was complete two days ago has gone to the lake (bars of the hourly runs)",
            "dataset = 'ohlcv' AND complete AND loaded > 0 AND archived_at IS NULL "
            "AND loaded_at < UTC_TIMESTAMP() - INTERVAL 2 DAY",
            "loaded {loaded_at}, and not in the lake: run the hour again",
            severity="warning",
        ),
    ),
)

LOAD_SCOPE = Suite(
    "load_scope",
    "load_scope",
    "What receipts cover",
    "all rows",
    ("scope",),
    (
        Rows(
            "lists",
            "intervals and symbols are JSON lists",
            "NOT JSON_VALID(intervals) OR NOT JSON_VALID(symbols)",
            "not two JSON lists",
        ),
    ),
)

ARCHIVE_RECEIPT = Suite(
    "archive_receipt",
    "archive_receipt",
    "Objects of the lake",
    "objects of the day's month, and objects verified on the day",
    ("uri",),
    (
        dataset_or_stream(),
        one_of("interval", "interval", INTERVALS, "the interval is one of the six, or empty"),
        one_of("state", "state", "'verified'", "every object was read back"),
        sha256("sha256", "content_digest"),
        Rows("bytes", "an object has bytes, and rows", "bytes <= 0 OR `rows` <= 0", "{bytes} bytes, {rows} rows"),
        Rows(
            "series_known",
            "the rows of an object (but a Stream's) are on record by series and day (table archive_series), and add up",
            query=(
                "SELECT s.uri, s.`rows`, COALESCE(SUM(t.`rows`), 0) AS counted FROM {batch} AS s "
                "LEFT JOIN archive_series AS t ON t.archive_receipt_id = s.id "
                "WHERE s.dataset IN ('ohlcv', 'funding_rate', 'futures_metrics') "
                "GROUP BY s.id, s.uri, s.`rows` HAVING s.`rows` <> counted"
            ),
            say="{rows} rows, and {counted} on record by series",
            severity="warning",
        ),
    ),
)

ARCHIVE_SERIES = Suite(
    "archive_series",
    "archive_series",
    "Series and days of the lake",
    "the day",
    ("dataset", "symbol", "interval", "day"),
    (
        dataset(),
        one_of("interval", "interval", INTERVALS, "the interval is one of the six, or empty"),
        Rows("rows", "a day on record has rows", "`rows` <= 0", "{rows} rows"),
        sha256("sha256"),
        Rows(
            "object_known",
            "the object that holds the day is on record (table archive_receipt)",
            query=(
                "SELECT s.dataset, s.symbol, s.`interval`, s.day, s.archive_receipt_id FROM {batch} AS s "
                "LEFT JOIN archive_receipt AS r ON r.id = s.archive_receipt_id WHERE r.id IS NULL"
            ),
            say="object {archive_receipt_id} is not on record",
        ),
        Rows(
            "whole_day",
            "a day holds no more rows than its interval has",
            "dataset = 'ohlcv' AND `rows` > 86400 DIV (CASE `interval` WHEN '1m' THEN 60 WHEN '5m' THEN 300 "
            "WHEN '15m' THEN 900 WHEN '1h' THEN 3600 WHEN '4h' THEN 14400 ELSE 86400 END)",
            "{rows} rows",
        ),
    ),
)

ARCHIVE_OBJECT = Suite(
    "archive_object",
    "archive_object",
    "Files of the exchange's archive",
    "files of the day or its month, and files looked at on the day",
    ("path",),
    (
        dataset(),
        one_of("state", "state", "'loaded', 'rejected'", "the state is loaded or rejected"),
        one_of("checksum", "checksum", "'verified', 'mismatch', 'absent'", "the checksum was compared"),
        one_of("period", "period", "'day', 'month'", "a file holds a day or a month"),
        not_negative("counts are zero or more", "bytes", "rows", "refused"),
        Rows(
            "believed",
            "what was loaded has the checksum that the exchange publishes",
            "state = 'loaded' AND checksum = 'mismatch'",
            "loaded in spite of its checksum: {detail}",
            severity="warning",
        ),
        Rows(
            "accepted",
            "no file was refused",
            "state = 'rejected'",
            "{detail}",
            severity="warning",
        ),
        Rows("order", "the first row is not after the last", "first_ts > last_ts", "first {first_ts}, last {last_ts}"),
    ),
)

SERIES_MONTH = Suite(
    "series_month",
    "series_month",
    "Completeness by month",
    "the day's month",
    ("dataset", "symbol", "interval", "month", "store"),
    (
        dataset(),
        one_of("state", "state", "'whole', 'partial'", "the state is whole or partial"),
        one_of("store", "store", "'mysql', 'lake'", "the store is MySQL or the lake"),
        not_negative("counts of rows are zero or more", "expected", "present", "unfillable", "outside"),
        Rows("window", "a window ends after it begins", "window_end <= window_start", "it ends {window_end}"),
        Rows(
            "sum",
            "no more rows are there, or cannot be had, than were expected",
            "dataset <> 'funding_rate' AND present + unfillable > expected",
            "{expected} expected, {present} there, {unfillable} that nobody has",
        ),
    ),
)

MONTH_EXPORT = Suite(
    "month_export",
    "month_export",
    "Months that left for the lake",
    "exports begun on the day, and all that are not finished",
    ("dataset", "month", "round"),
    (
        dataset(),
        one_of(
            "state",
            "state",
            "'copying', 'leaving', 'verified', 'dropped', 'restored'",
            "the state is copying, leaving, verified, dropped or restored",
        ),
        not_negative("counts are zero or more", "rows", "series", "beside", "outranked", "bytes", "files", "written"),
        Rows(
            "proved",
            "nothing was dropped that was not proved: a digest, a manifest and a time of proof stand beside it",
            "state = 'dropped' AND (verified_at IS NULL OR dropped_at IS NULL OR digest = '' OR manifest_uri = '' "
            "OR dropped_at < verified_at)",
            "verified {verified_at}, dropped {dropped_at}, manifest {manifest_uri}",
        ),
        Rows(
            "finished",
            "an export that took rows out of their table came to its end within a day",
            "state = 'leaving' AND begun_at < UTC_TIMESTAMP() - INTERVAL 1 DAY",
            "begun {begun_at}, and not proved yet: run the export of that month again",
            severity="warning",
        ),
    ),
)


LEDGERS: tuple[Suite, ...] = (
    LOAD_RECEIPT,
    LOAD_SCOPE,
    ARCHIVE_RECEIPT,
    ARCHIVE_SERIES,
    ARCHIVE_OBJECT,
    SERIES_MONTH,
    MONTH_EXPORT,
)
