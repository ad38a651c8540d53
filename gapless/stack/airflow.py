"""Airflow's four processes, as the native start runs them: their environment, commands and order."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from gapless.stack.keys import Keys
from gapless.stack.layout import Layout, Mode
from gapless.stack.ports import LOOPBACK
from gapless.stack.private_files import write_private
from gapless.stack.service import Service

LOGIN = "admin"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
POOLS = {"exchange_rest": ("requests to the exchange; the pacing shares one budget, this bounds the waiting tasks", 8)}
"""Pools that the DAGs name: description and slots."""


def metadata_database(mode: Mode) -> str:
    """Each mode has metadata of its own, so that a demonstration leaves no run in the history of the real pipeline."""
    return "airflow" if mode == "real" else "airflow_demo"


def airflow_version() -> str:
    return version("apache-airflow-core")


def parallelism(cores: int | None = None) -> int:
    """Tasks at once: about two a core. Airflow's own default of 32 let every task take half a minute on two cores."""
    return max(4, 2 * (cores or os.cpu_count() or 2))


class NativeAirflow:
    """The settings of one Airflow, kept in its processes' environment and nowhere else.

    Args:
        metadata_url: SQLAlchemy URL of its PostgreSQL database.
        base: what every service's environment begins with.
        dags: the DAG folder; the checkout's unless a test has its own.
    """

    def __init__(
        self,
        layout: Layout,
        mode: Mode,
        *,
        port: int,
        keys: Keys,
        metadata_url: str,
        base: Mapping[str, str],
        dags: Path | None = None,
    ) -> None:
        self._layout = layout
        self._mode = mode
        self._port = port
        self._keys = keys
        self._metadata_url = metadata_url
        self._base = base
        self._dags = dags or layout.root / "dags"

    @property
    def home(self) -> Path:
        return self._layout.home(self._mode) / "airflow"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def passwords_file(self) -> Path:
        """The login's password, as Airflow's SimpleAuthManager keeps it (JSON, mode 0600)."""
        return self.home / "simple_auth_manager_passwords.json"

    def prepare(self) -> None:
        """Make its home and the login. Airflow writes the password file only when a user has no password yet."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.passwords_file, msgspec.json.encode({LOGIN: self._keys.airflow_login}).decode() + "\n")

    def environment(self) -> dict[str, str]:
        """The whole environment of every Airflow process."""
        name = "Gapless" if self._mode == "real" else "Gapless DEMO (generated data)"
        sections: dict[str, dict[str, object]] = {
            "CORE": {
                "EXECUTOR": "LocalExecutor",
                "PARALLELISM": parallelism(),
                "DAGS_FOLDER": self._dags,
                "PLUGINS_FOLDER": self._layout.root / "plugins",
                "LOAD_EXAMPLES": False,
                "FERNET_KEY": self._keys.airflow_fernet,
                "EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "SIMPLE_AUTH_MANAGER_USERS": f"{LOGIN}:admin",
                "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.passwords_file,
            },
            "DATABASE": {"SQL_ALCHEMY_CONN": self._metadata_url},
            "API": {
                "HOST": LOOPBACK,
                "PORT": self._port,
                "BASE_URL": self.url,
                "WORKERS": 1,
                "SECRET_KEY": self._keys.airflow_session,
                "INSTANCE_NAME": name,
            },
            "API_AUTH": {"JWT_SECRET": self._keys.airflow_jwt},
            "LOGGING": {"BASE_LOG_FOLDER": self.home / "logs"},
            # New and changed DAG files are seen within half a minute; the default is five.
            "DAG_PROCESSOR": {"REFRESH_INTERVAL": 30},
            "SCHEDULER": {"ENABLE_HEALTH_CHECK": False},
            "USAGE_DATA_COLLECTION": {"ENABLED": False},
        }
        return {
            **self._base,
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{s}__{k}": str(v) for s, options in sections.items() for k, v in options.items()},
            "GX_ANALYTICS_ENABLED": "False",
            "SCARF_ANALYTICS": "false",
            "DO_NOT_TRACK": "1",
            # Without it a process that sets its title overwrites its environment, and with it the mark it is known by.
            "SPT_NOENV": "1",
        }

    def command(self, *words: str) -> list[str]:
        """An Airflow command line of this environment's own Airflow."""
        return [str(Path(sys.executable).with_name("airflow")), *words]

    def services(self) -> list[Service]:
        """Its four processes. The log servers are left out: all share one machine, so all read the same log files."""
        arguments = {
            "api-server": ["api-server"],
            "scheduler": ["scheduler", "--skip-serve-logs"],
            "dag-processor": ["dag-processor"],
            "triggerer": ["triggerer", "--skip-serve-logs"],
        }
        environment = self.environment()
        return [
            Service(
                name=component,
                command=tuple(self.command(*arguments[component])),
                environment=environment,
                folder=str(self._layout.root),
                stop_wait_s=30 if component == "scheduler" else 15,
                url=self.url if component == "api-server" else None,
            )
            for component in COMPONENTS
        ]
