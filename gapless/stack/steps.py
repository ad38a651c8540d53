"""The steps of a start that are processes of their own and end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gapless.errors import StorageError
from gapless.stack.layout import Layout


def upgrade_schema(url: str, environment: Mapping[str, str], layout: Layout) -> None:
    """`gapless db upgrade` on the mode's database, as a process of its own: it loads what nothing here needs."""
    gapless = str(Path(sys.executable).with_name("gapless"))
    run_logged([gapless, "db", "upgrade"], {**environment, "GAPLESS_MYSQL_URL": url}, layout.log("db-upgrade"))


def run_logged(command: list[str], environment: Mapping[str, str], log: Path, timeout_s: float = 300) -> None:
    """Run a step to its end, its output in `log`.

    Raises:
        StorageError: it failed or took too long; the message ends with its last lines.
    """
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout_s,
            )
            failed = done.returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
    if failed:
        tail = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise StorageError(f"`{' '.join(Path(command[0]).name.split() + command[1:])}` failed; {log} ends: {tail}")
