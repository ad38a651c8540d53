"""`python -m replica`: the exchange on loopback."""

from __future__ import annotations

import argparse
import sys

from gapless.errors import ConfigError
from replica.command import EXAMPLES, SUMMARY, add_arguments, run


def main(argv: list[str] | None = None) -> int:
    """Runs the command; a wrong option ends it with status 2 and one line."""
    parser = argparse.ArgumentParser(
        prog="python -m replica",
        description=SUMMARY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except ConfigError as error:
        sys.stderr.write(f"replica: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
