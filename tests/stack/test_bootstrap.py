"""`make setup` on machines that lack something: each case ends in one clear line, or copes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = '#!/bin/sh\ncase "$*" in *print*) echo 3.9 ;; *) exit 1 ;; esac\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the setup reads, in a folder of its own, without an environment."""
    for name in ("bootstrap", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def programs(folder: Path, **scripts: str) -> Path:
    """A folder for PATH with these scripts and the tools every Debian has."""
    folder.mkdir()
    for tool in ("sh", "cat", "sha256sum", "cut", "df", "awk", "mkdir", "dirname", "date", "flock", "ls", "tr", "env"):
        (folder / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def setup(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(checkout), **variables}
    return subprocess.run(
        ["./bootstrap", "setup"], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_old_python_is_named_with_what_to_do(checkout: Path) -> None:
    old = programs(checkout / "bin", python3=OLD)
    done = setup(checkout, PATH=str(old), PYTHON=str(old / "python3"))
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "is 3.9" in done.stderr
    assert not (checkout / ".venv").exists()


def test_no_space_is_said_before_anything_is_installed(checkout: Path) -> None:
    done = setup(checkout, NEED_MB="999999999")
    assert done.returncode == 1
    assert "999999999 MB are needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_root_the_missing_packages_are_listed(checkout: Path) -> None:
    python = '#!/bin/sh\ncase "$*" in *version_info*) exit 0 ;; *base_prefix*) echo /usr ;; *) exit 1 ;; esac\n'
    nobody = programs(
        checkout / "bin", python3=python, id="#!/bin/sh\necho 1000\n", **{"apt-get": "#!/bin/sh\nexit 9\n"}
    )
    done = setup(checkout, PATH=str(nobody))
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends python3-venv python3-dev gcc libc6-dev pkg-config" in done.stderr
    assert "redis-server" in done.stderr


def test_a_finished_setup_is_recognised_at_once(checkout: Path) -> None:
    environment = checkout / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(ROOT / ".venv/bin/python")
    (environment / "bin" / "gapless").write_text("#!/bin/sh\n")
    (environment / "bin" / "gapless").chmod(0o755)
    digest = subprocess.run(
        "cat bootstrap requirements-dev.txt pyproject.toml | sha256sum | cut -c1-64",
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    (environment / ".gapless-setup").write_text(digest.stdout)
    done = setup(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (environment / ".gapless-setup-times").read_text() == "download_s=0\ninstall_s=0\n"


def test_purge_asks_and_removes_nothing_without_an_answer(checkout: Path) -> None:
    (checkout / "var").mkdir()
    done = subprocess.run(
        ["./bootstrap", "purge"], cwd=checkout, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 1
    assert "nothing removed" in done.stderr
    assert (checkout / "var").exists()


def test_purge_removes_what_lies_here_and_only_named_places_elsewhere(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (checkout / "var").mkdir()
    (checkout / "var" / "outside-paths").write_text(f"{elsewhere}\n/var/lib/gapless/../escape\n")
    (checkout / ".venv").mkdir()
    done = subprocess.run(
        ["./bootstrap", "purge"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "YES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (checkout / "var").exists()
    assert not (checkout / ".venv").exists()
    assert elsewhere.exists()
    assert (checkout / "bootstrap").exists()
