"""Files that hold secrets: never readable by others, not even for a moment, and never half-written."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> bool:
    """Replace `path` atomically with `text`, mode 0600. Returns whether anything changed."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == 0o600:
        return False
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return True
