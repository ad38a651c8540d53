"""The exchange's archive as a second witness: for stored rows that REST denies, and for holes that REST left."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gapless.config import BINANCE_VISION
from gapless.domain.datasets import SHAPES, Dataset
from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision.archive import Archive
from gapless.exchanges.binance.vision.objects import ArchiveObject, day_object, month_object
from gapless.pipeline.backfill.archive import KINDS, Taken, open_archive, take_file
from gapless.pipeline.backfill.files import parser_of
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.reconcile.judgement import Key
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.runtime import Runtime
from gapless.quality.compare import compare

PATIENCE_S = 10.0
"""How long a witness that does not answer is waited for. The comparison does without it; a backfill would not."""


@dataclass
class Witness:
    """The archive, opened when it is first needed.

    Attributes:
        origin: whose data REST answers; generated data are never held against the exchange's own archive.
    """

    rt: Runtime
    threads: Executor
    origin: str
    _archive: Archive | None = None
    _files: dict[str, Taken | None] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _away: ExchangeError | None = None

    @property
    def may_be_asked(self) -> bool:
        """Whether the archive and REST are of one exchange."""
        return not (self.origin.startswith("replica:") and self.rt.settings.binance_vision_url == BINANCE_VISION)

    async def attests(self, slab: Slab, rows: pa.Table) -> tuple[pa.Table, set[Key]]:
        """Of stored rows those that the archive's files of their time have, as the files have them.

        Also the series of which a file was not to be had: not published yet, not trusted, or nobody answered.
        """
        found = [rows.slice(0, 0)]
        unheard: set[Key] = set()
        shape = SHAPES[slab.dataset]
        by_series = {(piece.series.symbol, piece.series.label): piece for piece in slab.pieces}
        labels = rows["interval"].to_pylist() if shape.label == "interval" else [""] * rows.num_rows
        times = rows["ts"].cast(pa.int64()).to_pylist()
        asked: dict[str, tuple[Piece, int]] = {}
        for symbol, label, ts in zip(rows["symbol"].to_pylist(), labels, times, strict=True):
            piece = by_series[symbol, label]
            asked[archive_object(piece, ts).path] = (piece, ts)
        for path, (piece, ts) in sorted(asked.items()):
            taken = None
            try:
                taken = await self.file(piece, ts) if self.may_be_asked else None
            except ExchangeError as error:
                self.rt.say(f"the archive was not asked for {path}: {error}")
            if taken is None or taken.parsed is None:
                unheard.add((piece.series.symbol, piece.series.label))
            else:
                theirs = taken.parsed.rows.select(shape.schema.names)
                unknown = compare(shape, rows.select(shape.schema.names), theirs).missing
                found.append(theirs.take(pa.array(np.setdiff1d(np.arange(theirs.num_rows), unknown))))
        return pa.concat_tables([part.select(shape.schema.names) for part in found]), unheard

    async def file(self, piece: Piece, at_ms: int) -> Taken | None:
        """The archive's file of one series that holds a moment (a day's, of funding a month's); None when it has none
        (yet). Fetched once.

        Raises:
            ExchangeError: the archive did not answer.
        """
        obj = archive_object(piece, at_ms)
        if self._away is not None:
            raise self._away
        if obj.path not in self._files:
            archive = await self.archive()
            try:
                self._files[obj.path] = await take_file(self.rt, archive, self.threads, obj, piece, parser_of(piece))
            except ExchangeError as error:
                self._away = error  # it is a second witness: nothing waits for it twice
                raise
        return self._files[obj.path]

    async def told_sha256(self, obj: ArchiveObject) -> str | None:
        """The checksum that the archive names for a file; None when it names none.

        Raises:
            ExchangeError: the archive did not answer.
        """
        if self._away is not None:
            raise self._away
        try:
            return await (await self.archive()).told_sha256(obj)
        except ExchangeError as error:
            self._away = error
            raise

    async def archive(self) -> Archive:
        """The archive, open."""
        async with self._opening:
            if self._archive is None:
                self._archive = await open_archive(self.rt, patience_s=PATIENCE_S).__aenter__()
        return self._archive

    async def close(self) -> None:
        """Close what was opened."""
        if self._archive is not None:
            await self._archive.__aexit__(None, None, None)
            self._archive = None


def archive_object(piece: Piece, at_ms: int) -> ArchiveObject:
    """The file of one series that holds a moment: a day's, of funding a month's."""
    series = piece.series
    make = month_object if series.dataset is Dataset.FUNDING else day_object
    return make(series.market, KINDS[series.dataset], piece.raw_symbol, series.interval, at_ms)
