"""Lock every package, exactly and by hash: `make lock`. Writes requirements.txt and what is derived from it.

`requirements.txt` is what runs; `requirements-dev.txt` is the same versions plus what tests and checks need;
`deploy/requirements-streamer.txt` is the part of them that the sidecar's own image installs. All carry
a digest of the dependencies in pyproject.toml, so that a test can tell offline when they have fallen behind.
Versions already locked are kept unless `--upgrade` is given.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("airflow", "quality", "streamer")
HEADER = "# Locked from pyproject.toml by `make lock`; do not edit. Dependencies: sha256:"


def dependencies_digest(pyproject: Path) -> str:
    """sha256 of the dependencies that pyproject.toml asks for, whatever their order."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    canonical = json.dumps({extra: sorted(wanted) for extra, wanted in asked.items()}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def compile_lock(target: Path, *options: str) -> None:
    """Resolve for every supported Python at once; no index address gets into the file."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    subprocess.run([*command, *options, "--output-file", str(target)], cwd=ROOT, check=True)
    stamp = HEADER + dependencies_digest(ROOT / "pyproject.toml")
    lines = [line for line in target.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    target.write_text("\n".join([stamp, *lines]) + "\n", encoding="utf-8")


def main() -> None:
    upgrade = [option for option in sys.argv[1:] if option == "--upgrade"]
    runtime, everything = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
    compile_lock(runtime, *upgrade, *(f"--extra={extra}" for extra in RUNTIME))
    compile_lock(everything, *upgrade, "--all-extras", "--constraint", str(runtime))
    compile_lock(ROOT / "deploy" / "requirements-streamer.txt", "--extra=streamer", "--constraint", str(runtime))


if __name__ == "__main__":
    main()
