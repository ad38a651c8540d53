"""The lake: Parquet on `file://` or `s3://`, exact, each row once, replaced whole.

lake = open_lake(settings)
receipts = lake.write(bars)
bars = lake.read(window, symbols=["BTC/USDT:USDT"], intervals=[Interval.M1], exchange="binance")
with lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, month_ms, bucket, spool_dir=spool) as writer:
    writer.add(bars_of_one_symbol)
    receipts = writer.finish()
"""

from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.locks import FileLocks, Locks
from gapless.storage.lake.merge import Merged, merge_rows
from gapless.storage.lake.months import MonthWriter
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, key_of, uri_of
from gapless.storage.lake.opening import default_locks, open_lake, open_store
from gapless.storage.lake.rewriting import ObjectReceipt, OnPairs

__all__ = [
    "BarLake",
    "Damaged",
    "FileLocks",
    "Locks",
    "Merged",
    "MonthWriter",
    "ObjectReceipt",
    "ObjectStore",
    "OnPairs",
    "PreconditionFailed",
    "Stat",
    "default_locks",
    "key_of",
    "merge_rows",
    "open_lake",
    "open_store",
    "uri_of",
]
