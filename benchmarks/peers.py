"""Other projects' ways from archive files to a store, measured in their own environment. Run by `benchmarks.backfill`.

    PEERS_PYTHON benchmarks/peers.py FOLDER MYSQL_URL SYMBOL MONTH

Prints one JSON object: rows a second by method, and the versions. What is called is theirs: freqtrade's archive reader,
cleaning and feather store; the unzipping and reading of `binance_historical_data`; pandas. None of them has a way into
MySQL of its own, so `DataFrame.to_sql` is theirs there.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import pandas as pd
from aiohttp import web
from sqlalchemy import create_engine

NAMES = ["open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
         "taker_buy_volume", "taker_buy_quote_volume", "ignore"]  # fmt: skip


def to_mysql(frame: pd.DataFrame, url: str, method: str | None) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        frame.to_sql("peer_bars", connection, if_exists="replace", index=False, method=method, chunksize=1000)
    engine.dispose()


def read_plain(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, header=0, names=NAMES)


def read_dumped(path: Path) -> pd.DataFrame:
    """As `binance_historical_data` leaves it: the member unpacked to disk, read from there by its users."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return pd.concat([pd.read_csv(each, header=0, names=NAMES) for each in Path(folder).iterdir()])


async def read_freqtrade(folder: Path, symbol: str, first: date, days: int) -> pd.DataFrame:
    """freqtrade reads days' files; its addresses are pointed at a server of this process."""
    from freqtrade.data.converter import clean_ohlcv_dataframe
    from freqtrade.enums import CandleType
    from freqtrade.exchange import binance_public_data as theirs

    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    theirs.binance_vision_ohlcv_zip_url = lambda symbol, timeframe, _, day: (
        f"http://127.0.0.1:{port}/{symbol}-{timeframe}-{day:%Y-%m-%d}.zip"
    )
    try:
        async with aiohttp.ClientSession() as session:
            asked = [
                theirs.get_daily_ohlcv(symbol, "1m", CandleType.FUTURES, first + timedelta(days=n), session)
                for n in range(days)
            ]
            frames = await asyncio.gather(*asked)
    finally:
        await runner.cleanup()
    return clean_ohlcv_dataframe(
        pd.concat(frames), "1m", "BTC/USDT:USDT", fill_missing=False, drop_incomplete=False,
        candle_type=CandleType.FUTURES,
    )  # fmt: skip


def store_feather(frame: pd.DataFrame) -> None:
    from freqtrade.data.history.datahandlers.featherdatahandler import FeatherDataHandler
    from freqtrade.enums import CandleType

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "futures").mkdir()
        FeatherDataHandler(Path(folder)).ohlcv_store("BTC/USDT:USDT", "1m", frame, CandleType.FUTURES)


def speed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    rows = len(work())
    return rows / (time.perf_counter() - began)


def main() -> None:
    folder, url, symbol, month = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    path = folder / f"{symbol}-1m-{month}.zip"
    first = date.fromisoformat(f"{month}-01")
    days = len(list(folder.glob(f"{symbol}-1m-{month}-*.zip")))

    def freqtrade() -> pd.DataFrame:
        return asyncio.run(read_freqtrade(folder, symbol, first, days))

    def then(read: Callable[[], pd.DataFrame], store: Callable[[pd.DataFrame], None]) -> Callable[[], pd.DataFrame]:
        def both() -> pd.DataFrame:
            frame = read()
            store(frame)
            return frame

        return both

    freqtrade()  # its imports are no part of the measurement
    found = {
        "pandas read_csv + to_sql(multi, 1000)": speed(
            then(lambda: read_plain(path), lambda f: to_mysql(f, url, "multi"))
        ),
        "pandas read_csv + to_sql": speed(then(lambda: read_plain(path), lambda f: to_mysql(f, url, None))),
        "binance_historical_data + to_sql(multi, 1000)": speed(
            then(lambda: read_dumped(path), lambda f: to_mysql(f, url, "multi"))
        ),
        "freqtrade + to_sql(multi, 1000)": speed(then(freqtrade, lambda f: to_mysql(f, url, "multi"))),
        "freqtrade into its feather files (6 of 12 columns, floats)": speed(then(freqtrade, store_feather)),
    }
    names = ("freqtrade", "binance_historical_data", "pandas", "sqlalchemy", "mysqlclient")
    print(json.dumps({"rows_s": found, "versions": {name: version(name) for name in names}}))


if __name__ == "__main__":
    main()
