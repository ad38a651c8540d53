"""The replica's command line: options, and what they start. `gapless replica` and `python -m replica` share it."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from gapless.errors import ConfigError
from replica.clock import ReplicaClock
from replica.control import changed_limits, checked_speed
from replica.exchange import Exchange
from replica.faults import FaultScript, load_script
from replica.limits import EXCHANGE_LIMITS
from replica.live.fault_schema import LiveScript, load_live_script
from replica.live.recorded import RecordedLive
from replica.live.rules import EXCHANGE_RULES, changed_rules
from replica.market import GeneratedMarket
from replica.recorded import RecordedSource
from replica.server import LiveStart, serve_until_told
from replica.source import GeneratedSource, Source
from replica.universe import default_universe, large_universe

DEFAULT_SEED = "1"
SUMMARY = (
    "serve Binance's own REST protocol, streams and archive on loopback, from generated or recorded data, with faults"
)
EXAMPLES = """examples:
  gapless replica --generate 7 --port 9000
      a generated market of two dozen instruments at the host's time
  gapless replica --generate 7 --start 2026-11-01T12:00 --speed 0
      the same, its clock frozen; POST /replica/clock moves it
  gapless replica --data archive/ --start 2024-09-10T08:00 --speed 60
      recorded bars, an hour of them a minute
  GAPLESS_BINANCE_VISION_URL=http://127.0.0.1:9000/vision gapless backfill ohlcv ...
      its archive of ZIP files; GAPLESS_BINANCE_VISION_LIST_URL=.../vision-list its listing
  gapless replica --generate load --symbols 600
      600 perpetuals for load tests

When it answers, it prints one line of JSON with its URLs. Ctrl-C or SIGTERM ends it. docs/replica.md has the rest.
"""
_SEED = re.compile(r"[A-Za-z0-9._-]{1,32}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the replica's options to a parser."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="serve the recorded bars below this folder")
    parser.add_argument(
        "--streams",
        type=Path,
        metavar="DIR",
        help="play the recorded streams below this folder instead of generated ones",
    )
    parser.add_argument("--generate", metavar="SEED", help=f"seed of a generated market (default: {DEFAULT_SEED})")
    parser.add_argument("--symbols", type=int, metavar="N", help="N perpetuals and some spot pairs, for load tests")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="fault script, YAML or JSON")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--um-ws-port", type=int, default=0, metavar="N", help="port of USD-M's streams (default: a free one)"
    )
    parser.add_argument(
        "--start", metavar="T", help="exchange time at the start, ISO 8601 (default: now; of recordings, their end)"
    )
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="its pace; 0 freezes it (default: 1)")
    parser.add_argument("--spot-weight", type=int, metavar="N", help="weight limit on spot; 0: none (default: 6000)")
    parser.add_argument("--um-weight", type=int, metavar="N", help="weight limit on USD-M; 0: none (default: 2400)")
    parser.add_argument(
        "--ws-life-s", type=float, metavar="X", help="how long a WebSocket connection lives (default: a day)"
    )
    parser.add_argument("--die-with-parent", action="store_true", help="end when the process that started it ends")


def run(args: argparse.Namespace) -> int:
    """Serves until told to end.

    Raises:
        ConfigError: an option is wrong, or the port is taken.
    """
    exchange = build(args)
    served = serve_until_told(
        exchange, args.port, args.um_ws_port, start=live_start(args), die_with_parent=args.die_with_parent
    )
    asyncio.run(served)
    return 0


def live_start(args: argparse.Namespace) -> LiveStart:
    """How the live side begins.

    Raises:
        ConfigError: an option is wrong.
    """
    if not 0 <= args.um_ws_port <= 65535:
        raise ConfigError(f"--um-ws-port must be between 0 and 65535, not {args.um_ws_port}")
    rules = EXCHANGE_RULES
    if args.ws_life_s is not None:
        rules = changed_rules(rules, {market.value: {"life_s": args.ws_life_s} for market in Market})
    return LiveStart(load_live_script(args.faults) if args.faults else LiveScript(), rules)


def build(args: argparse.Namespace) -> Exchange:
    """The exchange that the options describe.

    Raises:
        ConfigError: an option is wrong.
    """
    if not 0 <= args.port <= 65535:
        raise ConfigError(f"--port must be between 0 and 65535, not {args.port}")
    start_ms = parse_time(args.start) if args.start else None
    source: Source
    if args.data is None:
        source = _generated(args)
    elif args.generate is not None or args.symbols is not None:
        raise ConfigError("--data serves recordings; --generate and --symbols belong to a generated market")
    else:
        source = recorded = RecordedSource(args.data)
        start_ms = recorded.end_ms() if start_ms is None else start_ms
    wishes = {Market.SPOT: args.spot_weight, Market.UM: args.um_weight}
    changes = {market.value: {"weight_per_minute": value} for market, value in wishes.items() if value is not None}
    clock = ReplicaClock(start_ms, checked_speed(args.speed))
    faults = load_script(args.faults) if args.faults else FaultScript()
    limits = changed_limits(EXCHANGE_LIMITS, changes)
    if args.streams is None:
        return Exchange(source, clock, limits, faults)
    played = RecordedLive(args.streams, clock.now_ms)
    return Exchange(source, clock, limits, faults, live=played, live_rest=played)


def _generated(args: argparse.Namespace) -> GeneratedSource:
    seed = args.generate or DEFAULT_SEED
    if not _SEED.fullmatch(seed):
        raise ConfigError(f"--generate takes a seed of letters, digits, dots and dashes, 32 at most, not {seed!r}")
    if args.symbols is not None and not 1 <= args.symbols <= 5000:
        raise ConfigError(f"--symbols must be between 1 and 5000, not {args.symbols}")
    universe = default_universe() if args.symbols is None else large_universe(args.symbols)
    return GeneratedSource(GeneratedMarket(seed, cached_days=max(768, (args.symbols or 0) * 5 // 4)), universe)
