"""What a supervised service is: a command, its whole environment, whom it runs as, and how it is told to stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from gapless.stack.private_files import write_private

MARKER = "GAPLESS_STACK"
"""The environment variable by which the processes of a stack are known; its value is `Layout.stack_id`."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One process for the supervisor.

    Attributes:
        environment: the whole of it; nothing is inherited.
        run_as: the user to become, None for whoever starts the stack.
        stop_wait_s: how long it may take to end before it is killed.
        url: where a person or program reaches it, without a password.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    run_as: str | None = None
    stop_signal: str = "TERM"
    stop_wait_s: int = 20
    url: str | None = None

    def spec(self) -> str:
        """What `gapless.stack.launch` reads."""
        parts = {
            "command": list(self.command),
            "environment": dict(self.environment),
            "folder": self.folder,
            "run_as": self.run_as,
        }
        return msgspec.json.format(msgspec.json.encode(parts), indent=2).decode() + "\n"


def write_spec(service: Service, folder: Path) -> bool:
    """Keep the service's spec (mode 0600: it holds passwords). Returns whether it differs from the one kept before."""
    return write_private(spec_file(service.name, folder), service.spec())


def spec_file(name: str, folder: Path) -> Path:
    return folder / f"{name}.json"
