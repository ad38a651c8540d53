"""The services of one start: what each is, how it is spoken to, and what its environment holds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from gapless.stack.airflow import NativeAirflow, metadata_database
from gapless.stack.environment import base_environment
from gapless.stack.keys import Keys
from gapless.stack.layout import Layout, Mode
from gapless.stack.mariadb import PrivateMariaDB
from gapless.stack.ports import LOOPBACK
from gapless.stack.postgresql import PrivatePostgreSQL
from gapless.stack.redis import PrivateRedis
from gapless.stack.service import Service
from gapless.stack.values import DATABASES, DEMO_SEED, MYSQL_USER, Needs, replica_url, stack_values

AIRFLOW_ROLE = "airflow"
PORT_NAMES = ("mariadb", "redis", "postgresql", "airflow", "metrics", "replica", "replica-streams", "streamer")
_STOP_WAIT_S = {"streamer": 40}
"""Longer than what a stop in order may take by the service's own settings."""
_SCHEMES = {"mariadb": "mysql", "redis": "redis", "postgresql": "postgresql"}


def port_name(service: str) -> str:
    """The name under which a service's port is kept; of one with two, that of the first."""
    return "airflow" if service == "api-server" else service


def port_names(service: str) -> tuple[str, ...]:
    """The names of all ports that a service listens on, as far as it listens."""
    return ("replica", "replica-streams") if service == "replica" else (port_name(service),)


def url_of(service: str, ports: Mapping[str, int]) -> str | None:
    """Where a service is reached, without a password; None when it listens nowhere."""
    port = ports.get(port_name(service))
    return f"{_SCHEMES.get(service, 'http')}://127.0.0.1:{port}" if port else None


class Servers:
    """The objects of one start: what each service is and how it is spoken to."""

    def __init__(
        self,
        layout: Layout,
        mode: Mode,
        wanted: Needs,
        ports: Mapping[str, int],
        keys: Keys,
        environment: Mapping[str, str],
        dags: Path | None,
    ) -> None:
        self.mariadb = PrivateMariaDB(layout.mariadb, ports["mariadb"]) if wanted.mariadb else None
        self.redis = PrivateRedis(layout.redis, ports["redis"], keys.redis) if wanted.redis else None
        self.postgresql = PrivatePostgreSQL(layout.postgresql, ports["postgresql"], keys.postgresql)
        self.replica_url = replica_url(ports["replica"]) if wanted.replica else None
        self.metrics_url = f"http://{LOOPBACK}:{ports['metrics']}"
        database = DATABASES[mode]
        self.values = stack_values(
            layout,
            mode,
            wanted,
            mysql_url=self.mariadb.url(MYSQL_USER, keys.mysql, database) if self.mariadb else None,
            redis_url=f"redis://:{keys.redis}@127.0.0.1:{ports['redis']}" if self.redis else None,
            replica_url=self.replica_url,
            replica_um_streams=f"ws://{LOOPBACK}:{ports['replica-streams']}" if wanted.replica else None,
        )
        self.base = base_environment(environment, layout)
        self.airflow = NativeAirflow(
            layout,
            mode,
            port=ports["airflow"],
            keys=keys,
            metadata_url=self.postgresql.url(AIRFLOW_ROLE, keys.airflow_metadata, metadata_database(mode)),
            base=self.base | self.values,
            dags=dags,
        )
        self.services = self._services(layout, ports)

    def _services(self, layout: Layout, ports: Mapping[str, int]) -> list[Service]:
        plain = {name: value for name, value in self.base.items() if not name.startswith(("GAPLESS_BINANCE", "AWS_"))}
        databases: list[tuple[str, list[str], str | None, str]] = []
        if self.mariadb:
            databases.append(("mariadb", self.mariadb.command(), None, "TERM"))
        if self.redis:
            databases.append(("redis", self.redis.command(), None, "TERM"))
        databases.append(("postgresql", self.postgresql.command(), self.postgresql.run_as, "INT"))
        found = [
            Service(
                name=name,
                command=tuple(command),
                environment=plain,
                folder="/",
                run_as=run_as,
                stop_signal=stop_signal,
                stop_wait_s=60,
                url=url_of(name, ports),
            )
            for name, command, run_as, stop_signal in databases
        ]
        # Metrics read the books, the archive reads the Streams, the streamer writes both: they get the settings of this
        # start. The replica is the exchange and gets none.
        ours = self.base | self.values
        own = [
            ("metrics", ["metrics", "--serve", "--port", str(ports["metrics"])], ours),
            ("archive-streams", ["archive-streams"], ours),
            ("streamer", ["stream", "--port", str(ports["streamer"])], ours),
        ]
        if self.replica_url:
            places = ["--port", str(ports["replica"]), "--um-ws-port", str(ports["replica-streams"])]
            own.append(("replica", ["replica", "--generate", str(DEMO_SEED), *places], plain))
        gapless = str(Path(sys.executable).with_name("gapless"))
        found += [
            Service(
                name=name,
                command=(gapless, *words),
                environment=environment,
                folder=str(layout.root),
                stop_wait_s=_STOP_WAIT_S.get(name, 20),
                url=url_of(name, ports),
            )
            for name, words, environment in own
        ]
        return [*found, *self.airflow.services()]
