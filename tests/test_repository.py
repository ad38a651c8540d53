"""What the repository says of itself must be true: locks, arrows, and nothing that belongs to one machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.lock import HEADER, RUNTIME, dependencies_digest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "requirements.txt": RUNTIME,
    "requirements-dev.txt": (*RUNTIME, "dev"),
    "deploy/requirements-streamer.txt": ("streamer",),
}


def locked(name: str) -> dict[str, list[Requirement]]:
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            pin = Requirement(line.rstrip(" \\"))
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_lock_was_made_from_the_dependencies_as_they_are(name: str) -> None:
    first = (ROOT / name).read_text(encoding="utf-8").splitlines()[0]
    assert first == HEADER + dependencies_digest(ROOT / "pyproject.toml"), "pyproject.toml has changed: run `make lock`"


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_every_direct_dependency_is_locked_to_one_version_that_it_allows(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = locked(name)
    wanted = [*project["dependencies"], *(line for e in extras for line in project["optional-dependencies"][e])]
    for line in wanted:
        requirement = Requirement(line)
        found = pins.get(canonicalize_name(requirement.name), [])
        assert found, f"{requirement.name} is not in {name}: run `make lock`"
        for pin in found:
            (version,) = [Version(specifier.version) for specifier in pin.specifier if specifier.operator == "=="]
            assert version in requirement.specifier, (
                f"{pin} is not what pyproject.toml allows ({requirement.specifier})"
            )


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_is_pinned_exactly_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text.replace("\\\n", ""))[1:]
    assert len(blocks) > 50
    for block in blocks:
        assert re.match(r"[\w.\-\[\],]+==\S+", block), f"not pinned: {block[:60]}"
        assert "--hash=sha256:" in block, f"no hash: {block[:60]}"
    assert "://" not in text


def test_the_development_lock_holds_the_same_versions_as_the_one_that_runs() -> None:
    development = locked("requirements-dev.txt")
    for name, pins in locked("requirements.txt").items():
        assert {str(pin.specifier) for pin in pins} <= {str(pin.specifier) for pin in development[name]}, name


def test_every_direct_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    body = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    silent = [line for line in body.splitlines() if re.match(r'\s+"', line) and "#" not in line]
    assert silent == []


def test_arrows_run_one_way() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_settings_are_read_in_one_place() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for package in ("gapless", "streamer", "replica", "dags", "plugins")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8"))
    ]
    assert set(readers) <= {"gapless/config.py"}


def test_nothing_is_left_unfinished_or_bound_to_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    here = str(ROOT.parent) + "/"
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in {".png", ".svg"} or name.startswith("requirements") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        assert here not in text, f"{name} names a path of this machine"
        assert not marks.search(text), f"{name} has an unfinished mark"
