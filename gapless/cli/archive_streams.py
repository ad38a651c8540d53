"""`gapless archive-streams`: the live Streams to the disk spool, resident or once, and how that stands."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command

if TYPE_CHECKING:
    from gapless.domain.live import Kind
    from gapless.pipeline.stream_archive.watch import ArchiveStatus
    from gapless.storage.live import LiveStreams

_EXAMPLE = """\
  gapless archive-streams
  gapless archive-streams --kinds trades,mark_price,liquidations,depth
  gapless archive-streams --once
  gapless archive-streams --status

Takes the live Streams (docs/redis.md) from Redis to the spool on disk, until told to end: an entry is acknowledged
when it is safely written, about a second after it came. stream_archive_hourly brings whole hours into the lake.
Keeps the Streams within the bounds of include/retention.yaml; what is removed before it was taken is told in md.gaps.
It waits for a Redis that is away and for a disk that is full, and goes on by itself. One a host; hosts share the work.

--once takes what is there and ends. --status says what consumers do; its exit status is 1 when none is at work or an
alarm stands: something will be lost when nothing is done."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "archive-streams", help="take the live Streams to disk", example=_EXAMPLE)
    parser.add_argument(
        "--kinds",
        metavar="LIST",
        help="comma-separated from trades depth klines book_ticker mark_price liquidations"
        " (default trades,mark_price,liquidations)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="take what is there and end")
    what.add_argument("--status", action="store_true", help="say what consumers do, take nothing")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: told to end, or all taken, or all well; 1: not all could be taken, or an alarm stands."""
    from gapless.config import settings
    from gapless.errors import ConfigError
    from gapless.pipeline.retention.rules import load_rules
    from gapless.pipeline.stream_archive.take import Taker, consumer_name
    from gapless.storage.live import open_streams

    kinds = _kinds(args.kinds)
    own = settings()
    if own.redis_url is None:
        raise ConfigError("GAPLESS_REDIS_URL is not set: `gapless up` starts a Redis and sets it, .env names another")
    consumer = consumer_name()
    streams = open_streams(own.redis_url.get_secret_value(), consumer)
    try:
        if args.status:
            return _status(streams, as_json=args.json)
        rules = load_rules(own)
        taker = Taker(
            streams,
            own.spool_dir,
            kinds,
            consumer=consumer,
            stream_bounds=rules.streams,
            spool_bounds=rules.spool,
            say=_say,
        )
        if args.once:
            taker.once()
        else:
            over = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: over.set())
            taker.run(over)
    finally:
        streams.close()
    if args.once or args.json:
        _print([taker.status] if taker.status else [], as_json=args.json)
    return 0


def _status(streams: LiveStreams, *, as_json: bool) -> int:
    import msgspec

    from gapless.pipeline.stream_archive.watch import STATE_PREFIX, ArchiveStatus

    found = [msgspec.json.decode(state, type=ArchiveStatus) for state in streams.states(STATE_PREFIX)]
    _print(found, as_json=as_json)
    if not found and not as_json:
        print("nobody takes the live Streams: gapless archive-streams")
    return 0 if found and not any(status.alarms for status in found) else 1


def _print(found: list[ArchiveStatus], *, as_json: bool) -> None:
    from gapless.cli.output import print_json

    if as_json:
        print_json({"consumers": found, "errors": []})
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for status in found:
        table = Table(title=f"{status.consumer}: {status.state}", title_justify="left")
        for number, head in enumerate(("kind", "taken", "per s", "waiting", "oldest, s", "lost", "MB")):
            table.add_column(head, justify="right" if number else "left")
        for each in status.kinds:
            waiting = each.waiting + each.pending
            held = f"{each.bytes / 2**20:.1f}"
            cells = (each.taken, f"{each.per_second:.1f}", waiting, f"{each.oldest_untaken_s:.1f}", each.lost, held)
            table.add_row(str(each.kind), *map(str, cells))
        console.print(table)
        print(f"spool: {status.spool_bytes / 2**20:.1f} MB; Streams: {status.redis_bytes / 2**20:.1f} MB in Redis")
        for alarm in status.alarms:
            print(f"alarm: {alarm}")


def _kinds(text: str | None) -> list[Kind]:
    from gapless.domain.live import MARKET_KINDS, Kind
    from gapless.errors import ConfigError
    from gapless.pipeline.stream_archive.take import DEFAULT_KINDS

    if text is None:
        return list(DEFAULT_KINDS)
    asked = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [name for name in asked if name not in MARKET_KINDS]
    if unknown or not asked:
        raise ConfigError(f"--kinds {text}: write some of {', '.join(MARKET_KINDS)}")
    return [Kind(name) for name in asked]


def _say(line: str) -> None:
    from datetime import UTC, datetime

    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}", file=sys.stderr, flush=True)
