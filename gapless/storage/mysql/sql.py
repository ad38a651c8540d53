"""Where the SQL lies: `include/sql`, read by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from gapless.config import include_dir
from gapless.errors import ConfigError


@cache
def query(name: str) -> str:
    """The text of `include/sql/queries/<name>.sql` without its comments: a driver would look for parameters in them."""
    return "\n".join(line for line in _read(f"queries/{name}.sql").splitlines() if not line.lstrip().startswith("--"))


def statements(name: str) -> Iterator[str]:
    """The statements of `include/sql/ddl/<name>.sql`, in order: each ends with a semicolon at the end of a line."""
    lines: list[str] = []
    for line in _read(f"ddl/{name}.sql").splitlines():
        if line.lstrip().startswith("--"):
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines).strip().rstrip(";")
            lines = []
    if any(line.strip() for line in lines):
        raise ConfigError(f"include/sql/ddl/{name}.sql: the last statement has no semicolon at its end")


def _read(path: str) -> str:
    file = include_dir() / "sql" / path
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; the installation is incomplete") from None
