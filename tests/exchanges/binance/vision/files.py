"""Archive files made by hand, and the comparison of what was read with the text itself."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.exchanges.binance.rows import FIELDS, PRICES, TIMES, VOLUMES
from gapless.exchanges.binance.vision.klines import ParsedFile, parse_klines_zip
from gapless.exchanges.binance.vision.objects import KLINES, ArchiveObject, day_object

DAY = day_object(Market.UM, KLINES, "BTCUSDT", Interval.H1, Window.of("2024-09-01", "2024-09-02").start_ms)
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
HOUR = 3_600_000


def zipped(text: str | bytes, obj: ArchiveObject = DAY, *, member: str | None = None, stored: bool = False) -> bytes:
    """A ZIP of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(obj.member if member is None else member, text)
    return file.getvalue()


def line(hour: int = 0, micros: bool = False, /, **changes: str) -> str:
    """The bar of that hour of `DAY` as a CSV line."""
    opens = DAY.start_ms + hour * HOUR
    times = (f"{opens}000", f"{opens + HOUR}000") if micros else (str(opens), str(opens + HOUR))
    values = dict(
        zip(
            FIELDS,
            [times[0], "1.1", "1.3", "0.9", "1.2", "100.5", str(int(times[1]) - 1), "110.55", "7", "50", "55.1", "0"],
            strict=True,
        )
    )
    return ",".join((values | changes).values())


def parse(text: str | bytes, obj: ArchiveObject = DAY) -> ParsedFile:
    return parse_klines_zip(zipped(text, obj), obj, exchange="binance", symbol="BTC/USDT:USDT")


def opens_of(parsed: ParsedFile) -> list[int]:
    """Open times in whole hours of `DAY`."""
    return [(ts - DAY.start_ms) // HOUR for ts in parsed.bars["ts"].cast(pa.int64()).to_pylist()]


def reasons(parsed: ParsedFile) -> list[tuple[str, str]]:
    return [(each.reason, each.raw) for each in parsed.rejected]


def assert_equal_to_text(bars: pa.Table, rows: Sequence[Sequence[str]]) -> None:
    """Every value against the decimal of its text; times of 16 digits against their milliseconds."""
    assert bars.num_rows == len(rows) > 0
    for place, name in enumerate(FIELDS[:-1]):
        column = bars[name]
        texts = [row[place] for row in rows]
        if name in (*PRICES, *VOLUMES):
            assert column.to_pylist() == [Decimal(text) for text in texts], name
        elif name in TIMES:
            assert column.cast(pa.int64()).to_pylist() == [int(text[:13]) for text in texts], name
        else:
            assert column.to_pylist() == [int(text) for text in texts], name
