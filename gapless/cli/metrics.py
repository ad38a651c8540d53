"""`gapless metrics`: what Prometheus scrapes, once or served."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable

from gapless.cli.arguments import Subparsers, command

DEFAULT_PORT = 9464
_ONCE_S = 60.0
"""How long the database may take for a single look, which has nothing to go by from the look before."""

_EXAMPLE = """\
  gapless metrics
  gapless metrics --serve
  gapless metrics --serve --port 9100
  gapless metrics --serve --host 0.0.0.0      in a container, whose network is its own

Prints the metrics of docs/metrics.md as Prometheus reads them, from the books of the database: missing bars, gaps,
results of checks, refused rows, runs of jobs, lag, completeness. The exit status is 1 when the database is away.

--serve answers on 127.0.0.1 (or --host) until told to end, without a login: /metrics, always with status 200
(gapless_up 0 when the database is away), and /healthz. When ready it prints one JSON line with both addresses."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "metrics", help="print or serve metrics for Prometheus", example=_EXAMPLE)
    parser.add_argument("--serve", action="store_true", help="answer scrapes over HTTP until told to end")
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"where to serve, 0 for any free port (default {DEFAULT_PORT})"
    )
    parser.add_argument("--host", metavar="ADDRESS", help="the address to serve on (default 127.0.0.1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print once, 1 when the database is away; or serve until SIGTERM or SIGINT, 0 then."""
    from gapless.config import settings
    from gapless.errors import ConfigError, GaplessError
    from gapless.monitoring.exposition import exposition
    from gapless.pipeline.metrics import PATIENCE_S, ExchangeTime, Exporter, open_for_scrapes

    if not args.serve and (args.port is not None or args.host is not None):
        raise ConfigError("--port and --host say where to serve: add --serve")

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    clock = ExchangeTime()
    with open_for_scrapes(settings(), say=say) as rt:
        exporter = Exporter(rt, clock, patience_s=PATIENCE_S if args.serve else _ONCE_S)
        try:
            if args.serve:
                with clock.kept(rt):
                    return _serve(exporter.scrape, DEFAULT_PORT if args.port is None else args.port, args.host)
            try:
                clock.ask(rt)
            except GaplessError as error:
                say(f"the exchange's clock cannot be read ({error}); the lag is told by this host's clock")
            samples = exporter.samples()
        finally:
            exporter.close()
    sys.stdout.write(exposition(samples).decode())
    sys.stdout.flush()
    return 0 if any(each.name == "gapless_up" and each.value == 1 for each in samples) else 1


def _serve(scrape: Callable[[], bytes], port: int, host: str | None) -> int:
    from gapless.monitoring.serving import LOOPBACK, MetricsServer

    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with MetricsServer(scrape, port, host or LOOPBACK) as server:
        answering = threading.Thread(target=server.serve_forever, name="serve", daemon=True)
        answering.start()
        print(json.dumps({"metrics": f"{server.url}/metrics", "healthz": f"{server.url}/healthz"}), flush=True)
        over.wait()
        server.shutdown()
        answering.join()
    return 0


def _port(text: str) -> int:
    """0 to 65535; an argparse type."""
    if not text.strip().isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}; write a number up to 65535")
    return int(text)
