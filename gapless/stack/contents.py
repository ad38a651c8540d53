"""What the stores hold, for the summary: read from MySQL's tables and books alone."""

from __future__ import annotations

from sqlalchemy import func, select

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, HOUR_MS, Window
from gapless.stack.summary import Contents, Series
from gapless.storage.mysql import MySql
from gapless.storage.mysql.books import archive_receipt
from gapless.storage.mysql.origin import read_origin
from gapless.storage.mysql.summary import MarketRows, count_markets, count_quarantined, count_series


def read_contents(url: str, *, now_ms: int) -> Contents:
    """Count what a `GAPLESS_MYSQL_URL` and its books hold.

    Args:
        now_ms: the present, for the lag shown; the pipeline itself judges by the exchange's clock.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    db = MySql(url)
    try:
        markets = count_markets(count_series(db))
        recent = {interval: _rows_of_last_day(db, interval, now_ms) for interval in {one.interval for one in markets}}
        refused = count_quarantined(db)
        origin = read_origin(db)
        live = select(func.count(), func.coalesce(func.sum(archive_receipt.c.bytes), 0))
        files, size = db.run("counting the lake's objects", lambda connection: connection.execute(live).one())
    finally:
        db.close()
    return Contents(
        origin=origin,
        series=tuple(series_of(one, recent[one.interval].get(one.market, 0), now_ms) for one in markets),
        rows_quarantined=sum(refused.values()),
        lake_files=int(files),
        lake_bytes=int(size),
    )


def last_day(interval: Interval, now_ms: int) -> range:
    """Open times of the bars that completed in the last 24 whole hours."""
    hour = now_ms - now_ms % HOUR_MS
    return interval.completing(Window(hour - DAY_MS, hour))


def series_of(rows: MarketRows, last_day_rows: int, now_ms: int) -> Series:
    """A line of the table. The lag is that of the instrument furthest behind: the age of its first missing bar."""
    first_missing_closes = rows.laggard_ms + 2 * rows.interval.ms
    return Series(
        market=rows.market.value,
        interval=rows.interval.value,
        instruments=rows.series,
        rows=rows.rows,
        newest_ms=rows.newest_ms,
        complete=last_day_rows / (rows.series * len(last_day(rows.interval, now_ms))),
        lag_s=max(0, now_ms - first_missing_closes) / 1000,
    )


def _rows_of_last_day(db: MySql, interval: Interval, now_ms: int) -> dict[Market, int]:
    opens = last_day(interval, now_ms)
    counted = count_markets(count_series(db, Window(opens[0], opens[-1] + 1)))
    return {one.market: one.rows for one in counted if one.interval is interval}
