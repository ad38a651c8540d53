"""The lake: Parquet on `file://` or `s3://`, exact, each bar once, replaced whole.

lake = open_lake(settings)
receipts = lake.write(bars)
bars = lake.read(window, symbols=["BTC/USDT:USDT"], intervals=[Interval.M1], exchange="binance")
"""

from gapless.storage.lake.bars import BarLake, ObjectReceipt, OnReplaced
from gapless.storage.lake.digests import SeriesDigest, digests
from gapless.storage.lake.locks import FileLocks, Locks
from gapless.storage.lake.merge import Merged, merge_bars
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, key_of, uri_of
from gapless.storage.lake.opening import default_locks, open_lake, open_store

__all__ = [
    "BarLake",
    "Damaged",
    "FileLocks",
    "Locks",
    "Merged",
    "ObjectReceipt",
    "ObjectStore",
    "OnReplaced",
    "PreconditionFailed",
    "SeriesDigest",
    "Stat",
    "default_locks",
    "digests",
    "key_of",
    "merge_bars",
    "open_lake",
    "open_store",
    "uri_of",
]
