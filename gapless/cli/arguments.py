"""Options that several commands share, so that they are spelt and read the same everywhere."""

from __future__ import annotations

import argparse
import re
from typing import Any

from gapless.domain.instrument import Market
from gapless.domain.window import Window, parse_time
from gapless.errors import ConfigError

Subparsers = Any  # argparse names its type only privately


def command(subparsers: Subparsers, name: str, *, help: str, example: str) -> argparse.ArgumentParser:
    """A sub-command with its one-line help and an example that `--help` shows verbatim."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else")


def add_window(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--start", required=required, metavar="TIME", help="ISO 8601, UTC when it has no offset")
    parser.add_argument("--end", required=required, metavar="TIME", help="end of the window, ISO 8601")


def add_series(parser: argparse.ArgumentParser, *, default: str = "the list in include/symbols.yaml") -> None:
    """`--market`, `--symbols`, `--intervals`; `default` says what is meant without `--symbols`."""
    parser.add_argument("--market", choices=[*Market], help="spot or um; a raw symbol such as BTCUSDT needs it")
    parser.add_argument(
        "--symbols",
        metavar="LIST",
        help="comma-separated, BTC/USDT:USDT or BTCUSDT; all, or all:USDT for those quoted in USDT"
        f" (default: {default})",
    )
    parser.add_argument(
        "--intervals", metavar="LIST", help="comma-separated from 1m 5m 15m 1h 4h 1d (default: all six)"
    )


def add_max_wait(parser: argparse.ArgumentParser) -> None:
    """`--max-wait`, in seconds once parsed."""
    parser.add_argument(
        "--max-wait",
        type=seconds,
        default=900.0,
        metavar="TIME",
        help="how long to wait for a ban or an empty request budget: 90, 90s, 15m, 2h (default 15m)",
    )


def window_of(args: argparse.Namespace) -> Window:
    """The window that `--start` and `--end` name.

    Raises:
        ConfigError: not ISO 8601, or the end is not after the start.
    """
    return Window(parse_time(args.start), parse_time(args.end))


def bounds_of(args: argparse.Namespace) -> tuple[int | None, int | None]:
    """`--start` and `--end` (ms) where either may be left out.

    Raises:
        ConfigError: not ISO 8601, or the end is not after the start.
    """
    start = parse_time(args.start) if args.start else None
    end = parse_time(args.end) if args.end else None
    if start is not None and end is not None:
        Window(start, end)
    return start, end


def whole_number(text: str) -> int:
    """A number of 1 or more; an argparse type."""
    if not re.fullmatch(r"0*[1-9]\d{0,8}", text.strip()):
        raise argparse.ArgumentTypeError(f"not a whole number of 1 or more: {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Seconds of `90`, `90s`, `15m` or `2h`; an argparse type."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"not a time: {text!r}; write 90s, 15m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def market_of(args: argparse.Namespace) -> Market | None:
    return Market(args.market) if args.market else None


def names(text: str | None) -> list[str]:
    """The words of a comma-separated list.

    Raises:
        ConfigError: the list was given but holds nothing.
    """
    if text is None:
        return []
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ConfigError("--symbols is empty: name symbols such as BTC/USDT,BTC/USDT:USDT, or all")
    return words
