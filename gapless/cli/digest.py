"""`gapless digest`: content digests of what is stored, by series and day, to compare two installations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, add_series, add_window, command, market_of, names, window_of
from gapless.errors import ConfigError

if TYPE_CHECKING:
    from gapless.pipeline.digest import Comparison, DayDigest, DigestRequest, DigestRun

_DATASETS = {"ohlcv": "ohlcv", "funding": "funding_rate", "metrics": "futures_metrics"}
_LISTED = 50
_IN_MEMORY_BYTES = 64 << 20

_EXAMPLE = """\
  gapless digest --start 2026-11-20 --end 2026-11-21
  gapless digest --start 2026-11-01 --end 2026-12-01 --symbols BTC/USDT:USDT --intervals 1m,1h --json > here.json
  gapless digest --start 2026-11-01 --end 2026-12-01 --compare there.json
  gapless digest --start 2026-01-01 --end 2026-11-01 --dataset funding --from receipts

sha256 over the canonical text of the rows of each series and UTC day: the same wherever the rows lie (MySQL or lake)
and however they came. Without --symbols: all that is stored. A day that --start or --end cuts is digested as far as it
lies inside. --from rows (the default) reads every row. --from receipts takes the word of the lake's receipts for whole
days of which MySQL holds nothing: they were computed when the objects were last written and read back, so they are fast
and say nothing of what has happened to the files since. --compare FILE: what differs from, or is missing on either side
of, the JSON that the same command printed on another installation; exit status 1 when anything is."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "digest", help="print content digests of the stored rows", example=_EXAMPLE)
    add_window(parser)
    add_series(parser, default="all that is stored")
    parser.add_argument("--dataset", choices=[*_DATASETS], default="ohlcv", help="what to digest (default ohlcv)")
    parser.add_argument(
        "--from", dest="source", choices=["rows", "receipts"], default="rows", help="see below (default rows)"
    )
    parser.add_argument("--compare", type=Path, metavar="FILE", help="digests of another installation, as JSON")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Digest, print; 1 when a name means nothing or a compared day differs."""
    window, symbols, market = window_of(args), names(args.symbols), market_of(args)
    if args.intervals and args.dataset != "ohlcv":
        raise ConfigError(f"{args.dataset} has no intervals: leave --intervals out")
    from gapless.cli.output import print_failures
    from gapless.config import settings
    from gapless.domain.datasets import Dataset
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.digest import Comparison, DigestRequest, read_digests, run_digest
    from gapless.pipeline.runtime import Runtime

    request = DigestRequest(
        dataset=Dataset(_DATASETS[args.dataset]),
        market=market,
        symbols=tuple(symbols),
        intervals=parse_intervals(args.intervals),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        source=args.source,
    )
    other = None if args.compare is None else read_digests(args.compare)
    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr)) as rt:
        found = run_digest(rt, request)
        comparison = None if other is None else Comparison(other, request, found.chosen)
        if args.json:
            _write_json(request, found, comparison)
        elif comparison is None:
            _write_lines(found)
        else:
            _write_comparison(request, found, comparison)
    if not args.json:
        print_failures(found.errors)
    return 1 if found.errors or (comparison is not None and comparison.different) else 0


class _Sum:
    """Counts, and one digest over all lines."""

    def __init__(self) -> None:
        import hashlib

        self.rows = self.days = 0
        self._hash = hashlib.sha256()

    def take(self, digests: list[DayDigest]) -> None:
        self.days += len(digests)
        self.rows += sum(each.rows for each in digests)
        text = "".join(f"{each.symbol},{each.interval},{each.day},{each.rows},{each.sha256}\n" for each in digests)
        self._hash.update(text.encode())

    def hex(self) -> str:
        return self._hash.hexdigest()


def _write_json(request: DigestRequest, found: DigestRun, comparison: Comparison | None) -> None:
    """One object, a digest a line. It is made aside first: when a store fails half-way, no half object is printed."""
    import shutil
    import tempfile

    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as aside:
        _make_json(aside, request, found, comparison)
        aside.seek(0)
        shutil.copyfileobj(aside, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _make_json(aside: IO[bytes], request: DigestRequest, found: DigestRun, comparison: Comparison | None) -> None:
    import msgspec

    from gapless.domain.window import iso

    encode = msgspec.json.encode
    asked = {"dataset": request.dataset, "start": iso(request.start_ms), "end": iso(request.end_ms)}
    head = encode({**asked, "from": request.source})
    total = _Sum()
    aside.write(head[:-1] + b',"digests":[')
    for month in found.months:
        if month:
            aside.write((b",\n" if total.days else b"\n") + b",\n".join(encode(each) for each in month))
        total.take(month)
        if comparison is not None:
            comparison.take(month)
    tail = {"days": total.days, "rows": total.rows, "sha256": total.hex(), "errors": found.errors}
    if comparison is not None:
        comparison.end()
        tail |= {"compared": comparison.compared, "different": comparison.different}
    aside.write(b"\n]," + encode(tail)[1:] + b"\n")


def _write_lines(found: DigestRun) -> None:
    total = _Sum()
    for month in found.months:
        total.take(month)
        for each in month:
            print(f"{each.symbol:20} {each.interval:8} {each.day} {each.rows:>7,} {each.sha256}")
    if total.days:
        print(f"{total.days:,} days of series, {total.rows:,} rows, all together {total.hex()}")
    else:
        print("nothing is stored of that; gapless backfill fetches it", file=sys.stderr)


def _write_comparison(request: DigestRequest, found: DigestRun, comparison: Comparison) -> None:
    for month in found.months:
        comparison.take(month)
    comparison.end()
    for each in comparison.different[:_LISTED]:
        print(f"{' '.join(filter(None, (each.symbol, each.interval, each.day)))} {each.reason}")
    if len(comparison.different) > _LISTED:
        print(f"and {len(comparison.different) - _LISTED:,} more; --json lists them all")
    alike = comparison.compared - len(comparison.different)
    print(f"{request}: {alike:,} of {comparison.compared:,} days of series are alike")
