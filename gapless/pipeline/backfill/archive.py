"""Archive files on their way in: fetched, proved by their checksum, parsed; refused ones set apart with their bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.exchanges.binance.vision.archive import Archive, Checksum, Download
from gapless.exchanges.binance.vision.klines import PARSER_VERSION, BrokenFile
from gapless.exchanges.binance.vision.objects import ArchiveObject
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.lake import layout
from gapless.storage.mysql import ManifestRow, RefusedRow

KINDS = {Dataset.OHLCV: "klines", Dataset.FUNDING: "fundingRate", Dataset.METRICS: "metrics"}
"""The archive's own names of the datasets."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows of a file: canonical and sound, in order of time, and those that were not taken."""

    rows: pa.Table
    refused: tuple[RefusedRow, ...]
    read: int


Parse = Callable[[bytes, ArchiveObject], Parsed]


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was there.

    Attributes:
        parsed: None when the file was rejected; the manifest row says why.
    """

    parsed: Parsed | None
    manifest: ManifestRow
    refused: tuple[RefusedRow, ...]


def open_archive(rt: Runtime, on_wait: Callable[[str], None] | None = None, *, patience_s: float = 600.0) -> Archive:
    """The exchange's archive; to be entered with `async with`.

    Args:
        patience_s: how long a network that is away is waited for.
    """
    settings = rt.settings
    return Archive(
        settings.binance_vision_url,
        list_url=settings.vision_list_url,
        on_wait=on_wait or rt.say,
        patience_s=patience_s,
    )


async def take_file(
    rt: Runtime, archive: Archive, threads: Executor, obj: ArchiveObject, piece: Piece, parse: Parse
) -> Taken | None:
    """Fetch and parse one file; None when the archive does not have it.

    A file whose checksum does not match, or that is not what its name says, is kept in the lake's `quarantine/` with
    the reason, and is not used.

    Raises:
        ExchangeError: the archive did not answer. StorageError: a rejected file could not be kept.
    """
    download = await archive.fetch(obj)
    if download is None:
        return None
    loop = asyncio.get_running_loop()
    if download.checksum is Checksum.MISMATCH:
        told = f"its CHECKSUM names {download.told[:16]}..." if download.told else "its CHECKSUM cannot be read"
        return await loop.run_in_executor(
            threads, _reject, rt, download, piece, "checksum", f"the file is {download.sha256[:16]}..., {told}"
        )
    try:
        parsed = await loop.run_in_executor(threads, parse, download.data, obj)
    except BrokenFile as error:
        return await loop.run_in_executor(threads, _reject, rt, download, piece, error.reason, str(error))
    return Taken(parsed, _manifest(download, piece, parsed), parsed.refused)


def _reject(rt: Runtime, download: Download, piece: Piece, reason: str, detail: str) -> Taken:
    obj = download.object
    key = layout.rejected_key(obj.path, download.sha256)
    rt.lake.store.put(key, download.data)
    row = RefusedRow(
        exchange=EXCHANGE,
        symbol=piece.series.symbol,
        interval=piece.series.label,
        ts_ms=obj.start_ms,
        reason=reason[:64],
        payload=f"{obj.path} sha256 {download.sha256}, kept as {key}",
        detail=detail,
        dataset=str(piece.series.dataset),
    )
    return Taken(None, _manifest(download, piece, None, f"{reason}: {detail}"), (row,))


def _manifest(download: Download, piece: Piece, parsed: Parsed | None, detail: str = "") -> ManifestRow:
    obj, series = download.object, piece.series
    now_ms = time.time_ns() // 1_000_000
    times = parsed.rows["ts"].cast(pa.int64()) if parsed is not None and parsed.rows.num_rows else None
    return ManifestRow(
        path=obj.path,
        dataset=str(series.dataset),
        exchange=EXCHANGE,
        market=series.market,
        symbol=series.symbol,
        raw_symbol=obj.raw_symbol,
        interval=series.label,
        period=obj.period,
        period_start_ms=obj.start_ms,
        state="rejected" if parsed is None else "loaded",
        checksum=str(download.checksum),
        etag=download.etag,
        bytes=len(download.data),
        sha256=download.sha256,
        rows=0 if parsed is None else parsed.rows.num_rows,
        refused=0 if parsed is None else len(parsed.refused),
        first_ms=times[0].as_py() if times is not None else None,
        last_ms=times[-1].as_py() if times is not None else None,
        parser_version=PARSER_VERSION,
        detail=detail,
        store=piece.store,
        checked_ms=now_ms,
        loaded_ms=None if parsed is None else now_ms,
    )
