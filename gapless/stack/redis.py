"""A private Redis from the distribution: loopback only, its own folder, its password in a file nobody else reads."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from gapless.errors import ConfigError, StorageError
from gapless.stack.private_files import write_private

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class PrivateRedis:
    """What a supervisor needs to run one Redis server, and its clients to find it.

    Attributes:
        data_dir: everything it writes lies here, its configuration too.
        port: on 127.0.0.1; nothing else is listened on.
        password: printable, without spaces or quotes; it stands in the configuration file (mode 0600) and nowhere else.
        databases: numbered from 0.
    """

    data_dir: Path
    port: int
    password: str = field(repr=False)
    databases: int = 16

    @property
    def config_path(self) -> Path:
        """The configuration file that `write_config` makes."""
        return self.data_dir / "redis.conf"

    def command(self) -> list[str]:
        """The server's command line, in the foreground; no secret in it.

        Raises:
            ConfigError: the server is not installed.
        """
        server = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/bin:/usr/sbin")
        if server is None:
            raise ConfigError("redis-server is not installed; install Debian's redis-server package")
        return [server, str(self.config_path)]

    def url(self, database: int = 0) -> str:
        """Where clients find it, password included: not for logs or command lines."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def config_text(self) -> str:
        """Its whole configuration."""
        if not self.password or any(c.isspace() or c in "\"'\\" or not c.isprintable() for c in self.password):
            raise ConfigError("the Redis password must be printable, without spaces, quotes or backslashes")
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self.port}",
                "protected-mode yes",
                f"requirepass {self.password}",
                f"databases {self.databases}",
                f'dir "{self.data_dir.resolve()}"',
                "daemonize no",
                "supervised no",
                'logfile ""',
                # What lies here must not vanish for want of memory: a write fails instead, and is seen.
                "maxmemory-policy noeviction",
                # Bans outlive a restart; the rest is live state that is refreshed or expires.
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "",
            ]
        )

    def write_config(self) -> Path:
        """Write the configuration for its owner's eyes only, and return its path."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        write_private(self.config_path, self.config_text())
        return self.config_path

    def ready(self) -> bool:
        """Whether it answers now, with this password.

        Raises:
            StorageError: another server, which refuses our password, answers on this port.
        """
        client = Redis.from_url(self.url(), socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except AuthenticationError:
            raise StorageError(
                f"another Redis listens on 127.0.0.1:{self.port} and refuses our password; choose another port"
            ) from None
        except (RedisError, OSError):
            return False
        finally:
            client.close()

    def wait_ready(self, timeout_s: float = 15.0) -> None:
        """Return once it answers.

        Raises:
            StorageError: it did not within the time.
        """
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if time.monotonic() > deadline:
                raise StorageError(
                    f"Redis did not answer on 127.0.0.1:{self.port} within {timeout_s:g} s; see its log, "
                    f"or start it by hand: redis-server {self.config_path}"
                )
            time.sleep(_POLL_S)
