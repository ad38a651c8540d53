"""What the stores hold, for the summary: read from MySQL's tables and books alone."""

from __future__ import annotations

from sqlalchemy import func, select

from gapless.stack.summary import Contents, Series
from gapless.storage.mysql import MySql
from gapless.storage.mysql.books import archive_receipt
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
        refused = count_quarantined(db)
        live = select(func.count(), func.coalesce(func.sum(archive_receipt.c.bytes), 0))
        files, size = db.run("counting the lake's objects", lambda connection: connection.execute(live).one())
    finally:
        db.close()
    return Contents(
        series=tuple(series_of(one, now_ms) for one in markets),
        rows_quarantined=sum(refused.values()),
        lake_files=int(files),
        lake_bytes=int(size),
    )


def series_of(rows: MarketRows, now_ms: int) -> Series:
    """A line of the table. The lag is that of the instrument furthest behind: the age of its first missing bar."""
    length = rows.interval.ms
    first_missing_closes = rows.laggard_ms + 2 * length
    return Series(
        market=rows.market.value,
        interval=rows.interval.value,
        instruments=rows.series,
        rows=rows.rows,
        newest_ms=rows.newest_ms,
        lag_s=max(0, now_ms - first_missing_closes) / 1000,
    )
