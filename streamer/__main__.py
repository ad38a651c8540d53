"""`python -m streamer`: the live sidecar, the same as `gapless stream`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from gapless.errors import ConfigError, GaplessError, StorageError
from streamer.operations.command import EXAMPLES, SUMMARY, add_arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; what a user can cause ends it with one line and status 2 (wrong usage) or 1."""
    parser = argparse.ArgumentParser(
        prog="python -m streamer",
        description=SUMMARY[0].upper() + SUMMARY[1:] + ".",
        epilog=EXAMPLES.replace("gapless stream", "python -m streamer"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")  # as `gapless stream`: with its time
    try:
        return run(args)
    except GaplessError as error:
        sys.stderr.write(f"streamer: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except OSError as error:
        sys.stderr.write(f"streamer: {StorageError(str(error))}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
