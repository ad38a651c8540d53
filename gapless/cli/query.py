"""`gapless query`: stored bars of one series, MySQL and lake as one, to the last digit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_window, bounds_of, command, market_of, whole_number
from gapless.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from gapless.domain.instrument import Instrument, Market
    from gapless.domain.interval import Interval
    from gapless.domain.window import Window
    from gapless.pipeline.runtime import Runtime

NEWEST = 500
"""How many bars are shown when the window is left open and no limit is named."""

_FOR_EVER_MS = 253_402_300_800_000  # year 10000

_EXAMPLE = """\
  gapless query ohlcv BTC/USDT:USDT 1m
  gapless query ohlcv BTCUSDT 1h --market spot --limit 24
  gapless query ohlcv ETH/USDT 1d --start 2020-01-01 --end 2026-11-01 --format csv --output eth.csv
  gapless query ohlcv BTC/USDT:USDT 1m --start 2026-01-01 --end 2026-11-01 --format parquet --output btc.parquet

Bars whose open time lies in [start, end), oldest first. With --start and --end all of them; else the newest 500, or
--limit. Prices keep every digit: text in tables, CSV and JSON, decimals in Parquet. Where MySQL and the lake both hold
a bar, MySQL's is shown."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "query", help="print stored bars", example=_EXAMPLE)
    parser.add_argument("dataset", choices=["ohlcv"], help="what to read")
    parser.add_argument("symbol", metavar="SYMBOL", help="BTC/USDT, BTC/USDT:USDT, or BTCUSDT with --market")
    parser.add_argument("interval", metavar="INTERVAL", help="1m 5m 15m 1h 4h or 1d")
    parser.add_argument("--market", choices=["spot", "um"], help="the market of a raw symbol such as BTCUSDT")
    add_window(parser, required=False)
    parser.add_argument("--limit", type=whole_number, metavar="N", help=f"the newest N (default {NEWEST}, see below)")
    parser.add_argument("--format", choices=["table", "csv", "parquet", "json"], help="form (default table)")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the bars; nothing stored is said and no error, an unknown symbol is one.

    Raises:
        NotFound: the symbol is neither on record nor stored.
        ConfigError: wrong usage; Parquet onto a terminal.
    """
    if args.json and args.format not in (None, "json"):
        raise ConfigError(f"--json and --format {args.format} contradict each other: name one")
    form = "json" if args.json else args.format or "table"
    args.json = form == "json"
    start_ms, end_ms = bounds_of(args)
    if form == "parquet" and args.output is None and sys.stdout.isatty():
        raise ConfigError("Parquet is not for a terminal: add --output FILE, or send standard output to a file")
    from gapless.cli.rows import write_bars
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.domain.window import Window
    from gapless.pipeline.runtime import Runtime

    intervals = parse_intervals(args.interval)
    if args.interval == "all" or len(intervals) != 1:
        raise ConfigError(f"one interval at a time, not {args.interval}")
    window = Window(0 if start_ms is None else start_ms, _FOR_EVER_MS if end_ms is None else end_ms)
    limit = args.limit or (NEWEST if start_ms is None or end_ms is None else None)
    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr)) as rt:
        symbol = _known(rt, args.symbol, market_of(args))
        months = _bars(rt, symbol, intervals[0], window, limit)
        rows = write_bars(months, form, symbol=symbol, interval=intervals[0], output=args.output)
    if rows == 0:
        asked = "" if start_ms is None and end_ms is None else f" in {args.start or '...'}..{args.end or '...'}"
        print(f"no bar of {symbol} {args.interval} is stored{asked}; gapless backfill fetches them", file=sys.stderr)
    return 0


def _bars(rt: Runtime, symbol: str, interval: Interval, window: Window, limit: int | None) -> Iterator[pa.Table]:
    from gapless.pipeline.read import iter_bars, read_newest

    if limit is None:
        yield from iter_bars(rt, symbol, interval, window)
    else:
        yield read_newest(rt, symbol, interval, limit, window)


def _known(rt: Runtime, name: str, market: Market | None) -> str:
    """The unified symbol of a name that is on record, or of which something is stored."""
    from gapless.domain.instrument import market_of as market_named
    from gapless.domain.interval import ALL_INTERVALS
    from gapless.domain.universe import resolve
    from gapless.pipeline.read import stored_span
    from gapless.pipeline.runtime import EXCHANGE
    from gapless.storage.mysql import read_instruments

    if "," in name or name == "all" or name.startswith("all:"):
        raise ConfigError(f"one symbol at a time, not {name}")
    known: list[Instrument] = read_instruments(rt.db, EXCHANGE, market)
    found, _ = resolve(name, known, market)
    if found:
        return found[0].symbol
    if market_named(name) and any(stored_span(rt, name, interval) for interval in ALL_INTERVALS):
        return name
    raise NotFound(
        f"{name}: no instrument of that name is on record{f' on {market}' if market else ''}, and nothing is stored"
        " of it; check the spelling (BTC/USDT, BTC/USDT:USDT), or fetch it with gapless backfill"
    )
