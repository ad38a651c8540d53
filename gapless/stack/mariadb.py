"""A private MariaDB: own data folder, own port on loopback, own configuration; never the system's instance."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import MySQLdb

from gapless.errors import ConfigError, StorageError
from gapless.storage.mysql.server import SQL_MODE

_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes
_SYSTEM_PLACES = os.pathsep.join(("/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"))
_INITIALISED = "initialised"


def default_buffer_pool_mb() -> int:
    """An eighth of the machine's memory, between 128 MB and 8 GB: the machine has other work to do."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(128, min(8192, total // 8 // 2**20 // 64 * 64))


class PrivateMariaDB:
    """One MariaDB server in one folder.

    Everything it needs stands in `<folder>/my.cnf` (mode 0600), so that its command line shows nothing but that name.
    Root has no password: it is whoever owns the folder, proven by the Unix socket (`unix_socket` authentication).

    Args:
        folder: made with mode 0700 when missing; holds data, configuration, log and pid file.
        port: TCP port on 127.0.0.1, nothing else is listened on.
        buffer_pool_mb: InnoDB's cache; sized by the machine unless given.
        durable: no committed transaction is ever lost. False: what the kernel holds is enough, which outlives a crash
            of the server but not of the machine (tests and benchmarks).
        local_infile: whether `LOAD DATA LOCAL` is allowed, as the loader likes it.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        buffer_pool_mb: int | None = None,
        durable: bool = True,
        local_infile: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.buffer_pool_mb = buffer_pool_mb or default_buffer_pool_mb()
        self.durable = durable
        self.local_infile = local_infile
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config_file(self) -> Path:
        return self.folder / "my.cnf"

    @property
    def error_log(self) -> Path:
        return self.folder / "error.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "mariadb.pid"

    @property
    def socket(self) -> Path:
        """The Unix socket: in the folder, or in a private folder of /tmp where that path would be too long for one."""
        inside = self.folder / "mariadb.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_MAX:
            return inside
        name = sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"gapless-{os.getuid()}-{name}" / "mariadb.sock"

    def initialise(self) -> bool:
        """Write the configuration and, the first time, the system tables. Returns whether it was the first time.

        A first initialisation that was interrupted is thrown away and begun again.

        Raises:
            ConfigError: MariaDB's server is not installed.
            StorageError: its own installer failed; the message ends with what it said.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "tmp").mkdir(mode=0o700, exist_ok=True)
        self._make_socket_folder()
        self._write_config()
        marker = self.folder / _INITIALISED
        if marker.exists():
            return False
        data = self.folder / "data"
        if data.exists():
            shutil.rmtree(data)
        installer = _program("mariadb-install-db", "mysql_install_db")
        command = [installer, f"--defaults-file={self.config_file}", f"--user={_account()}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={_account()}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            said = " ".join((done.stdout + done.stderr).split())[-600:]
            raise StorageError(f"MariaDB could not initialise {data}: {said} {self._log_tail()}".strip())
        marker.touch()
        return True

    def command(self) -> list[str]:
        """The server's command line, for a supervisor. It stays in the foreground and ends cleanly on SIGTERM."""
        return [_program("mariadbd", "mysqld"), f"--defaults-file={self.config_file}"]

    def start(self) -> None:
        """Start the server as a child of this process and wait until it answers."""
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.wait_ready(process=self._process)

    def stop(self, *, kill: bool = False, timeout_s: float = 60) -> None:
        """End the child that `start` made: cleanly, or with SIGKILL as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout_s)

    def wait_ready(self, timeout_s: float = 60, *, process: subprocess.Popen[bytes] | None = None) -> None:
        """Return when the server answers on its socket.

        Raises:
            StorageError: it died, or does not answer within `timeout_s`; the message ends with its log's last lines.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._connect().close()
            except MySQLdb.OperationalError as error:
                died = process is not None and process.poll() is not None
                if died or time.monotonic() > deadline:
                    state = (
                        "died at its start" if died else f"does not answer after {timeout_s:.0f} s ({error.args[0]})"
                    )
                    raise StorageError(f"MariaDB on port {self.port} {state}. {self._log_tail()}") from None
                time.sleep(0.05)
            else:
                return

    def create_user_and_database(self, user: str, password: str, databases: Sequence[str]) -> None:
        """Databases, and one user with every right on exactly these and on nothing else. Safe to repeat.

        The user may come from this machine only (TCP on loopback, or the socket). An existing user gets this password.
        """
        with contextlib.closing(self._connect()) as connection, contextlib.closing(connection.cursor()) as cursor:
            for host in ("127.0.0.1", "localhost"):
                cursor.execute("CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", (user, host, password))
                cursor.execute("ALTER USER %s@%s IDENTIFIED BY %s", (user, host, password))
            for database in databases:
                name = _identifier(database)
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
                pattern = name.replace("_", r"\_")  # in a GRANT, `_` would match any character
                for host in ("127.0.0.1", "localhost"):
                    cursor.execute(f"GRANT ALL PRIVILEGES ON {pattern}.* TO %s@%s", (user, host))

    def url(self, user: str, password: str, database: str) -> str:
        """The `GAPLESS_MYSQL_URL` of a database here."""
        return f"mysql://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def _connect(self) -> Any:
        return MySQLdb.connect(unix_socket=str(self.socket), user=_account(), connect_timeout=5, autocommit=True)

    def _make_socket_folder(self) -> None:
        parent = self.socket.parent
        if parent == self.folder:
            return
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.is_symlink() or parent.stat().st_uid != os.getuid():
            raise StorageError(
                f"{parent} belongs to somebody else; remove it, or use a shorter path than {self.folder}"
            )
        parent.chmod(0o700)

    def _write_config(self) -> None:
        log_mb = max(64, min(1024, self.buffer_pool_mb // 4))
        lines = {
            "user": _account(),
            "datadir": self.folder / "data",
            "socket": self.socket,
            "pid-file": self.pid_file,
            # Not /tmp: there every MariaDB that starts deletes what looks like its temporary tables, others' too.
            "tmpdir": self.folder / "tmp",
            "log-error": self.error_log,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "skip-name-resolve": 1,
            "skip-log-bin": 1,
            "local-infile": int(self.local_infile),
            "character-set-server": "utf8mb4",
            "collation-server": "utf8mb4_bin",
            "default-time-zone": "+00:00",
            "sql-mode": SQL_MODE,
            "max-connections": 200,
            "max-allowed-packet": "64M",
            "innodb-buffer-pool-size": f"{self.buffer_pool_mb}M",
            "innodb-log-file-size": f"{log_mb}M",
            "innodb-flush-log-at-trx-commit": 1 if self.durable else 2,
            "innodb-flush-method": "O_DIRECT" if self.durable else "nosync",
            "sync-frm": int(self.durable),
            "performance-schema": "OFF",
        }
        text = "# Written by Gapless at every start.\n[mariadbd]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items())
        fresh = self.config_file.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        fresh.replace(self.config_file)

    def _log_tail(self) -> str:
        if not self.error_log.exists():
            return ""
        lines = self.error_log.read_text(errors="replace").splitlines()
        wrong = [line for line in lines if "[ERROR]" in line] or lines
        return f"Its log {self.error_log} ends: " + " | ".join(wrong[-3:])


def _account() -> str:
    """The account this process runs as: it owns the folder, and the server lets it in as root through the socket."""
    return pwd.getpwuid(os.getuid()).pw_name


def _program(*names: str) -> str:
    """The first of these programs that is installed; Debian keeps servers in sbin, which a user's PATH may lack."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=_SYSTEM_PLACES)
        if found:
            return found
    raise ConfigError(f"{names[0]} is not installed: apt-get install mariadb-server (or `make setup`)")


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
        raise ConfigError(f"not a database name: {name!r}; use letters, digits and underscores")
    return f"`{name}`"
