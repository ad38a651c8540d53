"""Real bars from the recordings, as canonical tables and as the exchange's own strings."""

from __future__ import annotations

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from gapless.domain.schema import OHLCV, Source

_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
    "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_FIELDS = {name: name for name in _COLUMNS} | {"ts": "open_time", "trades": "count"}


def rows(path: Path) -> list[dict[str, str]]:
    """The file's rows as texts by column; CSV or ZIP, with or without a header."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(archive.namelist()[0])
    lines = list(csv.reader(io.StringIO(data.decode())))
    return [dict(zip(_COLUMNS, line, strict=True)) for line in lines if line[0] != "open_time"]


def table(path: Path, symbol: str, interval: str) -> pa.Table:
    """The file as canonical bars."""
    found = rows(path)
    columns = []
    for name in OHLCV.names:
        match name:
            case "exchange" | "symbol" | "interval" | "source":
                value = {"exchange": "binance", "symbol": symbol, "interval": interval, "source": int(Source.VISION)}[
                    name
                ]
                columns.append(pa.array([value] * len(found), OHLCV.field(name).type))
            case "ts":
                # the archive writes spot times in microseconds since 2025
                times = [int(row["open_time"]) for row in found]
                columns.append(pa.array([t // 1000 if t > 10**14 else t for t in times], OHLCV.field("ts").type))
            case "trades":
                columns.append(pa.array([int(row["count"]) for row in found], OHLCV.field(name).type))
            case _:
                columns.append(pa.array([Decimal(row[name]) for row in found], OHLCV.field(name).type))
    return pa.Table.from_arrays(columns, schema=OHLCV)
