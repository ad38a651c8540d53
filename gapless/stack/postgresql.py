"""A private PostgreSQL for Airflow's metadata: own cluster, own port on loopback, passwords only."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from gapless.errors import ConfigError, StorageError
from gapless.stack.ports import LOOPBACK
from gapless.stack.private_files import write_private

SUPERUSER = "gapless"
_DEBIAN = Path("/usr/lib/postgresql")
_SYSTEM_USER = "postgres"


class PrivatePostgreSQL:
    """One PostgreSQL cluster in `<folder>/data`.

    It listens on TCP loopback alone (no Unix socket, whose path could be too long) and wants a password from everybody.
    Started by root it runs as the system user `postgres`, because PostgreSQL refuses root; every folder above must let
    that user pass (`Layout.postgresql` sees to it).
    """

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self._password = password

    @property
    def run_as(self) -> str | None:
        return _SYSTEM_USER if os.geteuid() == 0 else None

    def initialise(self) -> bool:
        """Make the cluster the first time. Returns whether it was the first time.

        Raises:
            ConfigError: PostgreSQL is not installed, or not in the version that made the data.
            StorageError: its own `initdb` failed; the message ends with what it said.
        """
        if (self.data / "PG_VERSION").exists():
            self._programs()
            return False
        programs = self._programs()
        self.folder.mkdir(parents=True, exist_ok=True)
        account = pwd.getpwnam(self.run_as) if self.run_as else pwd.getpwuid(os.geteuid())
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        os.chown(fresh, account.pw_uid, account.pw_gid)
        password_file = self.folder / "password"
        write_private(password_file, self._password + "\n")
        os.chown(password_file, account.pw_uid, account.pw_gid)
        command = [str(programs / "initdb"), "--pgdata", str(fresh), "--username", SUPERUSER]
        command += ["--pwfile", str(password_file)]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-instructions"]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[] if self.run_as else None,
        )
        password_file.unlink()
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise StorageError(f"PostgreSQL could not make {self.data}: {' '.join(done.stderr.split())[-600:]}")
        fresh.rename(self.data)
        return True

    def command(self) -> list[str]:
        """The server's command line, for a supervisor. It stays in the foreground; SIGINT ends it cleanly at once."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "log_line_prefix": "%m [%p] ",
            "cluster_name": "gapless",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs() / "postgres"), "-D", str(self.data), *options]

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return when the server takes our password.

        Raises:
            StorageError: it does not answer within `timeout_s`, or was made with another password.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError as error:
                reason = " ".join(str(error).split())
                if "password authentication failed" in reason:
                    raise StorageError(
                        f"the PostgreSQL in {self.data} was made with another password than the kept one:"
                        " restore var/keys.json, or start over without data by `make purge`"
                    ) from None
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"PostgreSQL on port {self.port} does not answer after {timeout_s:.0f} s: {reason}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def create_user_and_databases(self, user: str, password: str, databases: tuple[str, ...]) -> None:
        """A user without special rights who owns these databases. Safe to repeat; a known user gets this password."""
        with self._connect() as connection:
            connection.autocommit = True
            name = sql.Identifier(user)
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (user,)).fetchone()
            verb = sql.SQL("ALTER" if known else "CREATE")
            connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, sql.Literal(password)))
            for database in databases:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), name))

    def url(self, user: str, password: str, database: str) -> str:
        """The SQLAlchemy URL of a database here (psycopg2, as Airflow has it)."""
        return (
            f"postgresql+psycopg2://{quote(user, safe='')}:{quote(password, safe='')}@{LOOPBACK}:{self.port}/{database}"
        )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=LOOPBACK, port=self.port, user=SUPERUSER, password=self._password, dbname="postgres", connect_timeout=5
        )

    def _programs(self) -> Path:
        """The folder of the server programs: Debian's, in the version that made the data if there is any."""
        installed = {int(path.parent.parent.name): path.parent for path in _DEBIAN.glob("[0-9]*/bin/initdb")}
        version_file = self.data / "PG_VERSION"
        if version_file.exists():
            made_by = int(re.split(r"\D", version_file.read_text().strip())[0])
            if made_by not in installed:
                raise ConfigError(
                    f"{self.data} was made by PostgreSQL {made_by}, which is not installed:"
                    f" apt-get install postgresql-{made_by}"
                )
            return installed[made_by]
        if not installed:
            raise ConfigError("PostgreSQL is not installed: apt-get install postgresql (or `make setup`)")
        return installed[max(installed)]
