"""`gapless up`, `down`, `status`, `logs`, `run`: the native stack on the command line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command
from gapless.cli.output import print_json
from gapless.config import Settings, environment, load_settings, project_root
from gapless.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from gapless.stack.layout import Mode
    from gapless.stack.native import NativeStack
    from gapless.stack.status import Budget, StackStatus
    from gapless.stack.summary import Access, Contents, Times

_UP = """\
  gapless up
  gapless up --demo

Starts what is missing and waits until every part is healthy; harmless to repeat. Keeps the mode of the last start
(real, or the demonstration on generated data) unless told otherwise."""
_RUN = """\
  gapless run

What `make run` does after the setup: the stack up, the hourly DAG green for the newest hour, and a summary. When the
exchange is out of reach it says why and demonstrates on generated data, apart from everything real."""
_LOGS = """\
  gapless logs scheduler --lines 50
  gapless logs mariadb -f"""


def add(subparsers: Subparsers) -> None:
    """Register the commands."""
    up = command(subparsers, "up", help="start the native stack: databases, Redis, Airflow", example=_UP)
    _add_mode(up)
    add_json(up)
    up.set_defaults(run=_up)
    down = command(subparsers, "down", help="stop the native stack; no process stays behind", example="  gapless down")
    add_json(down)
    down.set_defaults(run=_down)
    status = command(
        subparsers, "status", help="show what runs, where, and how to log in", example="  gapless status --json"
    )
    add_json(status)
    status.set_defaults(run=_status)
    logs = command(subparsers, "logs", help="show the log of one service", example=_LOGS)
    logs.add_argument("name", metavar="NAME", help="a service that `gapless status` lists, or supervisord")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what is added, until interrupted")
    logs.add_argument("--lines", type=int, default=100, metavar="N", help="how many of the last lines (default 100)")
    logs.set_defaults(run=_logs)
    run = command(
        subparsers, "run", help="start everything, run the hourly DAG once, show what it brought", example=_RUN
    )
    _add_mode(run)
    run.add_argument("--setup-times", type=Path, metavar="FILE", help="what the setup noted of its own duration")
    run.set_defaults(run=_run)


def _add_mode(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--real", dest="mode", action="store_const", const="real", help="real data, whatever ran before")
    mode.add_argument("--demo", dest="mode", action="store_const", const="demo", help="the generated demonstration")


def say(line: str) -> None:
    """One line of progress on standard error."""
    print(f"gapless: {line}", file=sys.stderr, flush=True)


def _stack() -> tuple[NativeStack, Settings]:
    from gapless.stack.layout import Layout
    from gapless.stack.native import NativeStack

    user = load_settings(native=False)
    return NativeStack(Layout.of(project_root(), user.var_dir), environment=environment(), say=say), user


def _up(args: argparse.Namespace) -> int:
    stack, user = _stack()
    mode = args.mode or _asked_mode(user) or stack.last_mode() or _reachable_mode(user)
    _show(stack, stack.up(user, mode), as_json=args.json)
    return 0


def _down(args: argparse.Namespace) -> int:
    stack, _ = _stack()
    stack.down()
    if args.json:
        print_json(stack.status())
    else:
        say("stopped; the data is in " + str(stack.layout.var))
    return 0


def _status(args: argparse.Namespace) -> int:
    from msgspec.structs import replace

    stack, _ = _stack()
    status = stack.status()
    if status.services:
        from gapless.stack.budget import read_budgets

        status = replace(status, budgets=read_budgets(_running_settings(stack)))
    _show(stack, status, as_json=args.json)
    return 0


def _logs(args: argparse.Namespace) -> int:
    stack, _ = _stack()
    log = stack.layout.log(args.name)
    if Path(args.name).name != args.name or not log.is_file():
        known = sorted(path.stem for path in stack.layout.logs.glob("*.log"))
        raise NotFound(f"there is no log of {args.name}: choose from {', '.join(known) or '(nothing has run yet)'}")
    if args.lines < 0:
        raise ConfigError("--lines is negative: give 0 or more")
    words = ["tail", "-n", str(args.lines), *(["-F"] if args.follow else []), str(log)]
    if args.follow:
        sys.stdout.flush()
        os.execvp(words[0], words)  # noqa: S606  # tail follows through the log's rotation
    return subprocess.run(words, check=False).returncode


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from gapless.stack.hourly import ensure_green_run, schedule_others
    from gapless.stack.summary import print_summary

    stack, user = _stack()
    mode = args.mode or _asked_mode(user) or _reachable_mode(user)
    began = time.monotonic()
    status = stack.up(user, mode)
    started = time.monotonic() - began
    api = stack.api()
    report = ensure_green_run(api, say=say)
    schedule_others(api, say=say)
    if report.reused:
        say(f"the newest hour is there already ({report.run_id})")
    settings = _running_settings(stack)
    print_summary(
        Console(),
        contents=_contents(settings),
        lake=settings.lake,
        access=_access(stack, status),
        times=_times(args.setup_times, start=started, pipeline=report.seconds),
    )
    return 0


def _running_settings(stack: NativeStack) -> Settings:
    """The settings of the running stack: what it gives holds, whatever this shell has set."""
    return load_settings(native=True, **stack.running_values())


def _asked_mode(user: Settings) -> Mode | None:
    return user.mode if "mode" in user.model_fields_set else None


def _reachable_mode(user: Settings) -> Mode:
    from gapless.stack.probe import out_of_reach

    reason = out_of_reach(user)
    if reason is None:
        return "real"
    say(f"the exchange is out of reach ({reason}): demonstrating on generated data instead")
    return "demo"


def _contents(settings: Settings) -> Contents:
    from gapless.stack.contents import read_contents

    url = settings.mysql_url.get_secret_value() if settings.mysql_url else ""
    return read_contents(url, now_ms=time.time_ns() // 1_000_000)


def _access(stack: NativeStack, status: StackStatus) -> Access:
    from gapless.stack.summary import Access

    return Access(
        url=status.url or "",
        login=status.login,
        password=stack.password() if sys.stdout.isatty() else None,
        password_file=status.password_file or "",
    )


def _times(noted: Path | None, *, start: float, pipeline: float) -> Times:
    from gapless.stack.summary import Times

    setup: dict[str, float] = {}
    if noted is not None and noted.exists():
        pairs = (line.partition("=") for line in noted.read_text().splitlines())
        setup = {name: float(value) for name, _, value in pairs if value}
    return Times(download=setup.get("download_s", 0), setup=setup.get("install_s", 0), start=start, pipeline=pipeline)


def _show(stack: NativeStack, status: StackStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(status)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not status.services:
        console.print("the stack is down: gapless up" if status.mode else "the stack has never been started: make run")
        return
    title = "Gapless DEMO (generated data)" if status.mode == "demo" else "Gapless"
    table = Table(title=title, title_justify="left")
    for name in ("service", "state", "pid", "url"):
        table.add_column(name)
    for service in status.services:
        table.add_row(service.name, service.state, str(service.pid or "-"), service.url or "")
    console.print(table)
    for line in status.unhealthy:
        console.print(f"not healthy: {line}", markup=False)
    for budget in status.budgets:
        console.print(_budget_line(budget), markup=False, highlight=False)
    access = _access(stack, status)
    shown = access.password or f"in {access.password_file}"
    where = f"Airflow {access.url}   login {access.login}   password {shown}"
    console.print(where, markup=False, highlight=False, soft_wrap=True)


def _budget_line(budget: Budget) -> str:
    line = f"{budget.market}: {budget.used_weight:,} of {budget.usable_weight:,} weight used in the newest known minute"
    if budget.halted_until is None:
        return line
    until = budget.halted_until or "further notice"
    return f"{line}; nothing is sent until {until}: {budget.halted_because}"
