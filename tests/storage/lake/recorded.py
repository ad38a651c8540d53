"""Real bars from the recordings, as canonical tables and as the exchange's own strings."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from gapless.domain.schema import OHLCV, OHLCV_VALUES, Source

_COLUMNS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
    "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    """The file's rows as texts by column; CSV or ZIP, with or without a header."""
    return list(csv.DictReader(io.StringIO(_csv(path).decode())))


def table(path: Path, symbol: str, interval: str) -> pa.Table:
    """The file as canonical bars."""
    same = {"exchange": "binance", "symbol": symbol, "interval": interval, "source": int(Source.VISION)}
    types = {name: OHLCV.field(name).type for name in OHLCV_VALUES if name != "trades"} | {"open_time": pa.int64()}
    read = pyarrow.csv.read_csv(io.BytesIO(_csv(path)), convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    columns = []
    for field in OHLCV:
        if field.name in same:
            columns.append(pa.array([same[field.name]] * read.num_rows, field.type))
        elif field.name == "ts":
            times = read["open_time"].to_numpy()
            # the archive writes spot times in microseconds since 2025
            columns.append(pa.array(times // 1000 if times[0] > 10**14 else times).cast(field.type))
        else:
            columns.append(read["count" if field.name == "trades" else field.name].cast(field.type))
    return pa.Table.from_arrays(columns, schema=OHLCV)


def _csv(path: Path) -> bytes:
    """The file's text with a header, out of its ZIP if it is in one."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(archive.namelist()[0])
    return data if data.startswith(b"open_time") else ",".join(_COLUMNS).encode() + b"\n" + data
