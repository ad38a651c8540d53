"""Archive files are replaced without notice: those loaded before are held against their checksum of today."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, month_start, next_month
from gapless.pipeline.backfill.accounts import Accounts
from gapless.pipeline.backfill.pieces import Piece, Series, Store, whole_piece
from gapless.pipeline.backfill.request import BackfillRequest
from gapless.pipeline.backfill.survey import Survey
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import ManifestRow, read_manifest, touch_manifest

RECENT_MS = 35 * DAY_MS
"""How long after its period's end a file is still expected to change (reference 10.3)."""


def changed_pieces(rt: Runtime, request: BackfillRequest, found: Survey, accounts: Accounts) -> list[Piece]:
    """Settled months of which an archive file is another one today; each is to be read again as a whole.

    One small request a file (its CHECKSUM; the whole file where it was refused), and none for files older than
    `RECENT_MS` unless all are asked for.

    Raises:
        ExchangeError: the archive did not answer.
    """
    if request.recheck == "none" or request.source == "rest" or found.window is None or not found.series:
        return []
    hull = Window(month_start(found.window.start_ms), next_month(found.window.end_ms - 1))
    by_label = {(series.symbol, series.label): series for series in found.series}
    rows = [
        row
        for market in sorted({series.market for series in found.series})
        for row in _loaded(rt, request, market, hull, found)
        if (row.symbol, row.interval) in by_label
    ]
    if not rows:
        return []
    changed = asyncio.run(_compare(rt, rows, accounts))
    touch_manifest(rt.db, [row.path for row in rows], time.time_ns() // 1_000_000)
    pieces: dict[tuple[str, str, int, str], Piece] = {}
    for row in changed:
        piece = _again(by_label[row.symbol, row.interval], row, found)
        if piece is not None:
            pieces[row.symbol, row.interval, piece.month_ms, piece.store] = piece
    return list(pieces.values())


def _loaded(rt: Runtime, request: BackfillRequest, market: Market, hull: Window, found: Survey) -> list[ManifestRow]:
    symbols = {series.symbol for series in found.series if series.market is market}
    window = hull
    if request.recheck == "recent":
        recent_ms = found.now_ms - RECENT_MS
        if hull.end_ms <= recent_ms:
            return []
        window = Window(max(hull.start_ms, recent_ms), hull.end_ms)
    rows = read_manifest(rt.db, str(request.dataset), EXCHANGE, market, window, symbols)
    return [row for row in rows.values() if row.store]


async def _compare(rt: Runtime, rows: Sequence[ManifestRow], accounts: Accounts) -> list[ManifestRow]:
    from gapless.exchanges.binance.vision.objects import parse_path
    from gapless.pipeline.backfill.archive import open_archive

    async with open_archive(rt) as archive:

        async def changed(row: ManifestRow) -> bool:
            obj = parse_path(row.path)
            if obj is None:
                return False
            if row.state == "loaded":
                told = await archive.told_sha256(obj)
                return told is not None and told != row.sha256
            now = await archive.fetch(obj)  # refused before: it, or its checksum, may have been put right
            return now is not None and (now.sha256, str(now.checksum)) != (row.sha256, row.checksum)

        flags = []
        for at in range(0, len(rows), 256):
            flags += await asyncio.gather(*(changed(row) for row in rows[at : at + 256]))
        accounts.spent(archive.requests, 0)
    return [row for row, flag in zip(rows, flags, strict=True) if flag]


def _again(series: Series, row: ManifestRow, found: Survey) -> Piece | None:
    store: Store = "mysql" if row.store == "mysql" else "lake"
    month_ms = month_start(row.period_start_ms)
    settled = found.settled.get((series.symbol, series.label), {}).get((month_ms, store))
    if settled is None:
        return None  # never at rest: it is among the pieces that are left anyway
    return whole_piece(series, settled.window, store, settled)
