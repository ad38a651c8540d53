"""The disk spool of the live Streams: append-only files by kind, exchange and hour, on their way into the lake."""

from gapless.storage.spool.hours import (
    SpoolHour,
    hour_folder,
    read_files,
    read_hour,
    remove,
    seal,
    spooled_bytes,
    spooled_hours,
    spooled_ids,
    streams_root,
)
from gapless.storage.spool.segments import Damage
from gapless.storage.spool.writing import SegmentWriter

__all__ = [
    "Damage",
    "SegmentWriter",
    "SpoolHour",
    "hour_folder",
    "read_files",
    "read_hour",
    "remove",
    "seal",
    "spooled_bytes",
    "spooled_hours",
    "spooled_ids",
    "streams_root",
]
