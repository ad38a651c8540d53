"""What an archive file holds, by dataset: sound rows, and those to be refused with their text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.schema import OHLCV
from gapless.exchanges.binance.funding import parse_funding_zip
from gapless.exchanges.binance.metrics import parse_metrics_zip
from gapless.exchanges.binance.series_rows import ParsedRows
from gapless.exchanges.binance.vision.klines import parse_klines_zip
from gapless.exchanges.binance.vision.objects import ArchiveObject
from gapless.pipeline.backfill.archive import Parse, Parsed
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.runtime import EXCHANGE
from gapless.quality.rules import check_bars
from gapless.storage.mysql import RefusedRow


def parser_of(piece: Piece) -> Parse:
    """How the files of a piece's dataset are read."""
    dataset = piece.series.dataset
    if dataset is Dataset.OHLCV:
        return _bars_of(piece)
    read = parse_funding_zip if dataset is Dataset.FUNDING else parse_metrics_zip

    def parse(data: bytes, obj: ArchiveObject) -> Parsed:
        return parsed_rows(piece, read(data, obj, exchange=EXCHANGE, symbol=piece.series.symbol))

    return parse


def parsed_rows(piece: Piece, found: ParsedRows) -> Parsed:
    """Rows of funding or metrics, from a file or from REST."""
    refused = tuple(
        RefusedRow(EXCHANGE, piece.series.symbol, "", row.ts, row.reason, row.raw, dataset=str(piece.series.dataset))
        for row in found.rejected
    )
    return Parsed(found.rows, refused, found.read)


def _bars_of(piece: Piece) -> Parse:
    def parse(data: bytes, obj: ArchiveObject) -> Parsed:
        found = parse_klines_zip(data, obj, exchange=EXCHANGE, symbol=piece.series.symbol)
        checked = check_bars(found.bars)
        refused = [_refused(piece, row.ts, row.reason, row.raw) for row in found.rejected]
        if checked.broken:
            lines = _lines(data)
            times = found.bars["ts"].cast(pa.int64()).to_numpy()
            refused += [
                _refused(piece, int(times[row.row]), row.reason, lines.get(int(times[row.row]), ""))
                for row in checked.broken
            ]
        return Parsed(checked.good.select(OHLCV.names), tuple(refused), found.rows)

    return parse


def _lines(data: bytes) -> dict[int, str]:
    """The file's lines by open time (ms), for the few rows whose text goes to quarantine."""
    found: dict[int, str] = {}
    for line in _members(data):
        first = line.partition(",")[0].strip().strip('"')
        if first.isdigit():
            at = int(first)
            found.setdefault(at // 1000 if at > 10**14 else at, line)
    return found


def _members(data: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield from archive.read(name).decode("utf-8", "replace").splitlines()


def _refused(piece: Piece, ts_ms: int | None, reason: str, text: str) -> RefusedRow:
    return RefusedRow(EXCHANGE, piece.series.symbol, piece.series.label, ts_ms, reason, text)
