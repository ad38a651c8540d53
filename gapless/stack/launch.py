"""Becomes a service: `python -m gapless.stack.launch SPEC.json`. Run by the supervisor, one a service.

The supervisor's own configuration would show commands and environments in a form with quoting rules of its own; here
they stand as JSON in a 0600 file. Standard library only, because every service pays for what is imported here.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path


def main(path: str) -> None:
    """Replace this process by the service that the file describes. Returns only by raising."""
    spec = json.loads(Path(path).read_text())
    os.umask(0o022)
    if spec["run_as"] is not None:
        account = pwd.getpwnam(spec["run_as"])
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.chdir(spec["folder"])
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])  # noqa: S606  # becoming it is the purpose


if __name__ == "__main__":
    main(sys.argv[1])
