"""The archive's files as bytes: built from the market when first asked for, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from replica.series import FUNDING_HEADER, METRICS_HEADER
from replica.source import Source
from replica.vision.objects import FUNDING, KLINES, METRICS, ArchiveFile
from replica.vision.recorded import recorded_checksum
from replica.vision.zipped import Zipped, etag, read_csv, sealed, zip_csv

Built = tuple[Zipped, frozenset[int]]
"""A file, and the numbers of the rules that spoilt it."""

CACHE_BYTES = 256 * 1024 * 1024

_HEADERS = {
    KLINES: "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore",
    FUNDING: FUNDING_HEADER,
    METRICS: METRICS_HEADER,
}
_MICROS_DIGITS = 16
_SPOT_MICROS_FROM_MS = parse_time("2025-01-01")
_UM_HEADER_FROM_MS = parse_time("2022-05-01")


@dataclass(slots=True)
class ZipCache:
    """Built files by what they are made of, the longest unused dropped first.

    Attributes:
        most_bytes: how much is kept; a single file larger than that is kept alone.
    """

    most_bytes: int = CACHE_BYTES
    _kept: OrderedDict[object, Built] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: object, make: Callable[[], Built]) -> Built:
        """The file under a key, made now if it is not kept."""
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = make()
            self._bytes += len(found[0].data)
            while self._bytes > self.most_bytes and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1][0].data)
        self._kept.move_to_end(key)
        return found


def exists(source: Source, file: ArchiveFile) -> bool:
    """Whether the exchange makes this file at all, sooner or later."""
    if source.recorded_zip(file.path) is not None:
        return True
    if file.kind == KLINES:
        return source.archived(file.market, file.symbol, file.interval, file.period)
    span = source.series.archive_span(file.kind, file.symbol)
    return span is not None and span.intersect(file.period) is not None


def available_ms(source: Source, file: ArchiveFile) -> int:
    """From when it can be fetched: a recording proves its publication, so it is there as soon as its period is over."""
    return file.period.end_ms if source.recorded_zip(file.path) is not None else file.published_ms


def original(source: Source, file: ArchiveFile) -> Zipped:
    """The file as first published."""
    recorded = source.recorded_zip(file.path)
    if recorded is None:
        return sealed(f"{file.stem}.zip", zip_csv(file.stem, csv_of(source, file)))
    data = recorded.read_bytes()
    told = recorded_checksum(recorded)
    whole = sealed(f"{file.stem}.zip", data)
    return whole if told is None else Zipped(data, whole.sha256, etag(data), told)


def csv_of(source: Source, file: ArchiveFile) -> bytes:
    """The file's text with the header and the unit of its time: spot klines have none and count microseconds from 2025
    on, USD-M klines have one from May 2022 on and count milliseconds."""
    if file.kind != KLINES:
        return source.series.archive_csv(file.kind, file.symbol, file.period)
    micros = file.market is Market.SPOT and file.period.start_ms >= _SPOT_MICROS_FROM_MS
    lines = source.archive_csv(file.market, file.symbol, file.interval, file.period, micros=micros)
    headed = file.market is Market.UM and file.period.start_ms >= _UM_HEADER_FROM_MS
    return f"{header_of(file)}\n".encode() + lines if headed else lines


def header_of(file: ArchiveFile) -> str:
    """The names of a file's columns, comma-separated, as the archive writes them where it does."""
    return _HEADERS[file.kind]


def restated(file: ArchiveFile, sound: Zipped, changes: Mapping[int, Mapping[int, Any]]) -> Zipped:
    """A file of klines made anew with bars changed, by open time (ms) and place in the row."""
    lines = read_csv(sound.data).decode().splitlines()
    for at, line in enumerate(lines):
        values = line.split(",")
        if values[0].isdecimal():
            open_ms = int(values[0]) // (1000 if len(values[0]) >= _MICROS_DIGITS else 1)
            for place, value in changes.get(open_ms, {}).items():
                values[place] = str(value)
            lines[at] = ",".join(values)
    return sealed(f"{file.stem}.zip", zip_csv(file.stem, "".join(f"{line}\n" for line in lines).encode()))
