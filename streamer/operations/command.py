"""The command of the sidecar, the same as `gapless stream` and as `python -m streamer`.

Light at the top: `gapless --help` reads this.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gapless.config import Settings
    from streamer.operations.request import Library, StreamRequest
    from streamer.operations.settings_file import StreamerSettings

SUMMARY = "stream books, trades and bars live into Redis"
EXAMPLES = """\
example:
  gapless stream
  gapless stream --symbols BTC/USDT,BTC/USDT:USDT --channels depth,trades,klines
  gapless stream --symbols all:USDT --market um --channels trades,klines --no-books
  gapless stream --symbols all:USDT --market um --shard 0/4
  gapless stream --status

Writes what happens into Redis Streams and what is into plain keys (docs/redis.md), closed bars into MySQL, and every
loss, repaired or not, into md.gaps. Without --symbols it takes the list in include/symbols.yaml and follows it while it
changes; include/exchanges.yaml says how it behaves. SIGTERM ends it in order: what it has is written first; a second
one ends it at once. SIGHUP makes it read the list again.

--status says how every streamer stands; its exit status is 1 when none is at work, a book is not live, a stream is
silent, or something waits on disk because Redis or MySQL is away. docs/stream.md has the rest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; what is not given comes from the settings."""
    parser.add_argument(
        "--symbols",
        metavar="LIST",
        help="comma-separated, BTC/USDT:USDT or BTCUSDT; all, or all:USDT for those quoted in USDT"
        " (default: the list in include/symbols.yaml)",
    )
    parser.add_argument("--market", choices=("spot", "um"), help="what raw symbols and all mean")
    parser.add_argument(
        "--channels",
        metavar="LIST",
        help="comma-separated from depth trades klines book_ticker mark_price liquidations (default: all)",
    )
    parser.add_argument("--intervals", metavar="LIST", help="of klines, from 1m 5m 15m 1h 4h 1d (default: 1m)")
    parser.add_argument("--transport", choices=("picows", "websockets"), help="WebSocket library (default: picows)")
    parser.add_argument(
        "--shard", metavar="N/OF", help="this process's share of the symbols, 0/4 to 3/4 (default: 0/1)"
    )
    parser.add_argument("--top", type=int, metavar="N", help="levels a side of the published book (default: 20)")
    parser.add_argument("--no-books", action="store_true", help="pass depth on as diffs; build no order books")
    parser.add_argument(
        "--port", type=int, metavar="N", help="health and metrics over HTTP, 0 for any free port (default: 9465)"
    )
    parser.add_argument("--host", metavar="ADDRESS", help="the address for that (default: 127.0.0.1)")
    parser.add_argument("--status", action="store_true", help="say how all streamers stand, stream nothing")
    parser.add_argument(
        "--json", action="store_true", help="with --status: print one JSON object on standard output and nothing else"
    )


def run(args: argparse.Namespace) -> int:
    """0: told to end and all was written, or all is well; 1: not all could be written, or a problem stands.

    Raises:
        GaplessError: what is wrong and what to write (`ConfigError`), or what did not work.
    """
    from gapless.config import settings
    from gapless.errors import ConfigError

    own = settings()
    if own.redis_url is None:
        raise ConfigError("GAPLESS_REDIS_URL is not set: `gapless up` starts a Redis and sets it, .env names another")
    if args.status:
        return _status(own.redis_url.get_secret_value(), as_json=args.json)
    if args.json:
        raise ConfigError("--json says how streamers stand in another form: add --status")
    from streamer.operations.imports import do_without_unused

    do_without_unused()
    from streamer.operations.serve import serve
    from streamer.operations.settings_file import load_options

    options = load_options(own.exchanges_file, named="exchanges_file" in own.model_fields_set)
    return serve(request_of(args, own, options), own, options)


def request_of(args: argparse.Namespace, settings: Settings, options: StreamerSettings) -> StreamRequest:
    """What the arguments ask for, completed from the settings.

    Raises:
        ConfigError: an argument, or what stands in its place in the file, makes no sense.
    """
    from gapless.domain.instrument import Market
    from gapless.domain.interval import parse_intervals
    from gapless.errors import ConfigError
    from gapless.exchanges.binance.streams.names import parse_channels
    from streamer.operations.request import StreamRequest
    from streamer.operations.shards import Shard, parse_shard

    defaults = options.operations
    top = options.books.top_levels if args.top is None else args.top
    if not 1 <= top <= 1_000:
        raise ConfigError(f"--top {top}: write 1 to 1000")
    port = defaults.port if args.port is None else args.port
    if port is not None and not 0 <= port <= 65_535:
        raise ConfigError(f"--port {port}: write 0 to 65535")
    market = Market(args.market) if args.market else None
    names = [word.strip() for word in (args.symbols or "").split(",") if word.strip()]
    if args.symbols is not None and not names:
        raise ConfigError("--symbols is empty: name symbols such as BTC/USDT,BTC/USDT:USDT, or all:USDT")
    return StreamRequest(
        symbols=",".join(names) or None,
        market=market,
        channels=parse_channels(args.channels if args.channels is not None else ",".join(defaults.channels)),
        intervals=tuple(map(str, parse_intervals(args.intervals or ",".join(defaults.intervals)))),
        transport=_library(args.transport or options.transport.library),
        shard=parse_shard(args.shard) if args.shard else Shard(),
        top=top,
        books=not args.no_books,
        host=args.host or defaults.host,
        port=port,
    )


def _library(name: str) -> Library:
    from gapless.errors import ConfigError

    if name not in ("picows", "websockets"):
        raise ConfigError(f"transport.library {name}: write picows or websockets")
    return "picows" if name == "picows" else "websockets"


def _status(url: str, *, as_json: bool) -> int:
    import msgspec

    from streamer.operations.status_view import read_states, show, verdict

    found = read_states(url)
    wrong = verdict(found)
    if as_json:
        document = {"streamers": found, "problems": wrong, "errors": []}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    else:
        show(found)
    return 1 if wrong else 0
