"""Where the native stack keeps what: every path in one place, all below `var/` with two exceptions named here."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["real", "demo"]

_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes
_SYSTEM_DATA = Path("/var/lib/gapless")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one stack.

    Attributes:
        root: the checkout: `dags/`, `plugins/`, `include/`.
        var: absolute, without links; everything the stack writes.
    """

    root: Path
    var: Path

    @classmethod
    def of(cls, root: Path, var: Path) -> Layout:
        return cls(root.resolve(), var.resolve())

    @property
    def stack_id(self) -> str:
        """What tells this stack's processes from those of another checkout (12 hex digits of the folder's name)."""
        return hashlib.sha256(os.fsencode(self.var)).hexdigest()[:12]

    @property
    def state_file(self) -> Path:
        return self.var / "stack.json"

    @property
    def keys_file(self) -> Path:
        return self.var / "keys.json"

    @property
    def env_file(self) -> Path:
        """What `gapless.config` reads below the user's own settings."""
        return self.var / "gapless.env"

    @property
    def lock_file(self) -> Path:
        return self.var / ".stack.lock"

    @property
    def outside_file(self) -> Path:
        """The paths that had to lie elsewhere, one a line, for `make purge`."""
        return self.var / "outside-paths"

    @property
    def run(self) -> Path:
        """Generated configuration, mode 0700."""
        return self.var / "run"

    @property
    def logs(self) -> Path:
        """One rotated log a service, mode 0700."""
        return self.var / "log"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def home(self, mode: Mode) -> Path:
        """The folder of what the two modes must not share: lake and Airflow's home."""
        return self.var if mode == "real" else self.var / "demo"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's control socket; in a private folder of /tmp where its path would be too long for one."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_MAX:
            return inside
        return Path(tempfile.gettempdir()) / f"gapless-{os.getuid()}-{self.stack_id}" / "supervisor.sock"

    @property
    def mariadb(self) -> Path:
        return self.var / "mariadb"

    @property
    def redis(self) -> Path:
        return self.var / "redis"

    @property
    def postgresql(self) -> Path:
        """PostgreSQL's folder.

        PostgreSQL refuses to run as root, so for root it runs as the system user `postgres`, who cannot enter a
        checkout below `/root`. Then, and only then, its folder lies in `/var/lib/gapless/`.
        """
        inside = self.var / "postgresql"
        outside = _SYSTEM_DATA / self.stack_id / "postgresql"
        if os.geteuid() != 0 or (inside / "data" / "PG_VERSION").exists():
            return inside
        if (outside / "data" / "PG_VERSION").exists() or not _everybody_may_enter(self.var):
            return outside
        return inside

    def make(self) -> None:
        """Create the folders, private where they hold anything private."""
        self.var.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.logs, self.supervisor_socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        outside = [path for path in (self.postgresql.parent, self.supervisor_socket.parent) if not self._holds(path)]
        if outside:
            self.outside_file.write_text("".join(f"{path}\n" for path in outside))

    def _holds(self, path: Path) -> bool:
        return path == self.var or self.var in path.parents


def _everybody_may_enter(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents) if path.exists())
