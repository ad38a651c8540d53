"""What the stack remembers between starts (`var/stack.json`): nothing secret, nothing that cannot be found out."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gapless.errors import ConfigError
from gapless.stack.layout import Mode
from gapless.stack.private_files import write_private


class State(msgspec.Struct, frozen=True):
    """The last start.

    Attributes:
        mode: real or demo, None before the first start.
        ports: by service.
        migrated: the Airflow version each mode's metadata was last migrated to.
    """

    mode: Mode | None = None
    ports: dict[str, int] = {}
    migrated: dict[str, str] = {}


def load_state(path: Path) -> State:
    """The kept state, or an empty one.

    Raises:
        ConfigError: the file is damaged.
    """
    if not path.exists():
        return State()
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is damaged ({error}): remove it while the stack is down; ports are chosen anew then"
        ) from None


def save_state(path: Path, state: State) -> None:
    write_private(path, msgspec.json.format(msgspec.json.encode(state), indent=2).decode() + "\n")
