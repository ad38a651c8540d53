"""`gapless up`, `down`, `status`, `logs`, `run`: the native stack on the command line."""

from __future__ import annotations

import argparse
import json
import sys

import msgspec

from gapless.cli.arguments import Subparsers, add_json, command
from gapless.config import environment
from gapless.stack.native import NativeStack, StackStatus, native_stack


def add(subparsers: Subparsers) -> None:
    """Register the commands."""
    up = command(subparsers, "up", help="start the native stack: databases, Redis, Airflow", example="  gapless up")
    up.add_argument(
        "--demo", action="store_true", help="the demonstration on generated data, apart from everything real"
    )
    add_json(up)
    up.set_defaults(run=_up)
    down = command(subparsers, "down", help="stop the native stack; no process stays behind", example="  gapless down")
    add_json(down)
    down.set_defaults(run=_down)
    status = command(
        subparsers, "status", help="what runs, where, and how to log in", example="  gapless status --json"
    )
    add_json(status)
    status.set_defaults(run=_status)


def say(line: str) -> None:
    """One line of progress."""
    print(f"gapless: {line}", file=sys.stderr, flush=True)


def _up(args: argparse.Namespace) -> int:
    stack, user = native_stack(say, environment())
    mode = "demo" if args.demo else user.mode
    _show(stack, stack.up(user, mode), as_json=args.json)
    return 0


def _down(args: argparse.Namespace) -> int:
    stack, _ = native_stack(say, environment())
    stack.down()
    _show(stack, stack.status(), as_json=args.json)
    return 0


def _status(args: argparse.Namespace) -> int:
    stack, _ = native_stack(say, environment())
    _show(stack, stack.status(), as_json=args.json)
    return 0


def _show(stack: NativeStack, status: StackStatus, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(msgspec.to_builtins(status)))
        return
    for service in status.services:
        print(f"{service.name:15} {service.state:10} {service.pid or '-':>8}  {service.url or ''}")
    print(status.unhealthy, status.url, status.login, stack.password() if sys.stdout.isatty() else status.password_file)
