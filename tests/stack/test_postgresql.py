"""The private PostgreSQL: made once, on loopback, with a password, also for root in a folder closed to others."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gapless.errors import ConfigError, StorageError
from gapless.stack.layout import Layout
from gapless.stack.ports import choose
from gapless.stack.postgresql import PrivatePostgreSQL
from gapless.stack.service import Service, write_spec

PASSWORD = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a stack with `var/` in this folder keeps its PostgreSQL."""
    layout = Layout.of(tmp_path, tmp_path / "var")
    layout.var.mkdir()
    yield layout.postgresql
    if layout.postgresql.is_relative_to("/var/lib/gapless"):
        shutil.rmtree(layout.postgresql.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            layout.postgresql.parent.parent.rmdir()


@contextlib.contextmanager
def running(server: PrivatePostgreSQL, tmp_path: Path) -> Iterator[None]:
    service = Service(
        name="postgresql",
        command=tuple(server.command()),
        environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        folder="/",
        run_as=server.run_as,
    )
    write_spec(service, tmp_path)
    launch = ["-m", "gapless.stack.launch", str(tmp_path / "postgresql.json")]
    python = str(Path(__file__).resolve().parents[2] / ".venv/bin/python")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([python, *launch], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def server_in(folder: Path, password: str = PASSWORD) -> PrivatePostgreSQL:
    ports, _ = choose(["postgresql"], {}, seed=os.getpid() * 7)
    return PrivatePostgreSQL(folder, ports["postgresql"], password)


def test_it_serves_whom_it_was_made_for_and_nobody_without_the_password(folder: Path, tmp_path: Path) -> None:
    server = server_in(folder)
    assert server.initialise()
    assert not server.initialise()
    assert not (folder / "password").exists()
    with running(server, tmp_path):
        server.wait_ready(20)
        server.create_user_and_databases("airflow", "first", ("airflow", "airflow_demo"))
        server.create_user_and_databases("airflow", "second", ("airflow", "airflow_demo"))
        address = server.url("airflow", "second", "airflow_demo").replace("postgresql+psycopg2", "postgresql")
        with psycopg.connect(address) as connection:
            assert connection.execute(
                "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone() == (
                "airflow",
                False,
            )
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(address.replace("second", "wrong"))
        stranger = PrivatePostgreSQL(folder, server.port, "not the kept one")
        with pytest.raises(StorageError, match=r"made with another password"):
            stranger.wait_ready(20)


def test_no_answer_is_said_with_the_port(folder: Path) -> None:
    server = server_in(folder)
    with pytest.raises(StorageError, match=f"PostgreSQL on port {server.port} does not answer"):
        server.wait_ready(0.1)


def test_data_of_a_version_that_is_not_installed_names_the_package(folder: Path) -> None:
    server = server_in(folder)
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("8\n")
    with pytest.raises(ConfigError, match="apt-get install postgresql-8"):
        server.initialise()
