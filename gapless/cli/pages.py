"""`gapless pages`: who is paged, of what; a test page; sending what is due."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command, seconds

if TYPE_CHECKING:
    from gapless.pipeline.paging import PagesView
    from gapless.pipeline.runtime import Runtime

_EXAMPLE = """\
  gapless pages                          open pages, and the last that are over
  gapless pages test --hold 60s          send a test page to every receiver, resolve it after a minute
  gapless pages tell                     send and resolve what is due now, as the daily run does
  gapless pages close gap-1f0c...        forget a page whose receiver is gone

Receivers are settings: GAPLESS_PAGERDUTY_ROUTING_KEY (and GAPLESS_PAGERDUTY_URL), GAPLESS_ALERTMANAGER_URL. Exit
status 1 when a receiver did not take something, or, for a test, when none is configured. Alertmanager passes nothing on
that is over before its group_wait is: hold a test longer than that."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "pages", help="show whom was paged of what; test the receivers", example=_EXAMPLE)
    parser.add_argument("action", nargs="?", choices=["list", "test", "tell", "close"], default="list")
    parser.add_argument("key", nargs="?", help="the page to close")
    parser.add_argument("--hold", type=seconds, default=0.0, metavar="TIME", help="how long a test page stays open")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show, test, tell or close."""
    from gapless.config import settings
    from gapless.errors import ConfigError
    from gapless.pipeline.runtime import Runtime

    if (args.key is not None) != (args.action == "close"):
        raise ConfigError("gapless pages close KEY closes one page; the other actions take no key")
    if args.action == "test":
        return _test(args)
    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr, flush=True)) as rt:
        actions = {"list": _list, "tell": _tell, "close": _close}
        return actions[args.action](rt, args)


def _test(args: argparse.Namespace) -> int:
    from gapless.cli.output import print_json
    from gapless.config import settings
    from gapless.monitoring.pager import NOBODY
    from gapless.pipeline.paging import try_receivers

    results = try_receivers(settings(), source="gapless pages test", hold_s=args.hold)
    if args.json:
        print_json({"receivers": results})
    else:
        for each in results:
            print(f"{each.receiver}: " + (f"failed: {each.error}" if each.error else "took a test page and its end"))
    if not results:
        print(NOBODY, file=sys.stderr)
    return 0 if results and not any(each.error for each in results) else 1


def _list(rt: Runtime, args: argparse.Namespace) -> int:
    from gapless.cli.output import print_json
    from gapless.pipeline.paging import view_pages

    view = view_pages(rt)
    if args.json:
        print_json(view)
    else:
        _print_view(view)
    return 0


def _tell(rt: Runtime, args: argparse.Namespace) -> int:
    from gapless.cli.output import print_json
    from gapless.pipeline.paging import tell_of_gaps

    report = tell_of_gaps(rt)
    if args.json:
        print_json(report)
    else:
        print(f"{report.sent} sent, {report.resolved} resolved, {report.open} open, {report.unpaged} told to nobody")
        for error in report.errors:
            print(f"failed: {error}", file=sys.stderr)
    return 1 if report.errors else 0


def _close(rt: Runtime, args: argparse.Namespace) -> int:
    from gapless.cli.output import print_json
    from gapless.pipeline.paging import close_page

    page = close_page(rt, args.key)
    if args.json:
        print_json(page)
    else:
        print(f"closed {page.key}; nobody was told: {page.summary}")
    return 0


def _print_view(view: PagesView) -> None:
    from gapless.monitoring.pager import NOBODY

    print("receivers: " + ", ".join(view.receivers) if view.receivers else NOBODY)
    if view.unpaged:
        print(f"{view.unpaged:,} failed gaps that nobody was told of")
    if not view.pages:
        print("no pages")
    for page in view.pages:
        when = f"since {page.created}" + (f", over {page.resolved}" if page.resolved else "")
        left = f", {page.gaps:,} gaps left" if page.gaps else ""
        told = f", told {', '.join(page.told)}" if page.told else ", told nobody yet"
        print(f"{page.state:9} {page.key}  {when}{told}{left}\n          {page.summary}")
        if page.state != "resolved":
            print(f"          what to do: {page.runbook}")
