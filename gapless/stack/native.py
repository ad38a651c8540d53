"""The native stack as a whole: up, down, status. Every step is safe to repeat and recovers from a crash anywhere."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from shutil import disk_usage

import msgspec
from filelock import FileLock, Timeout

from gapless.config import Settings
from gapless.errors import ConfigError, GaplessError, StorageError
from gapless.stack import processes
from gapless.stack.airflow import COMPONENTS, LOGIN, POOLS, airflow_version, metadata_database
from gapless.stack.airflow_api import AirflowApi, AirflowRefused
from gapless.stack.keys import Keys, load_keys
from gapless.stack.layout import Layout, Mode
from gapless.stack.ports import choose, is_free
from gapless.stack.private_files import write_private
from gapless.stack.redis import PrivateRedis
from gapless.stack.servers import AIRFLOW_ROLE, PORT_NAMES, Servers, port_names, url_of
from gapless.stack.service import write_spec
from gapless.stack.state import State, load_state, save_state
from gapless.stack.status import ServiceStatus, StackStatus
from gapless.stack.steps import run_logged, upgrade_schema
from gapless.stack.supervisor import AT_WORK, Supervisor
from gapless.stack.values import (
    DATABASES,
    MYSQL_USER,
    Needs,
    env_file_text,
    needs,
)

MIN_FREE_MB = 1024
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NativeStack:
    """The stack of one checkout.

    Args:
        environment: this process's; a chosen part is handed to the services.
        say: takes progress, one line at a time.
        dags: another DAG folder than the checkout's, for tests.
        min_free_mb: what must be free on the disk before anything is started.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        dags: Path | None = None,
        min_free_mb: int = MIN_FREE_MB,
    ) -> None:
        self.layout = layout
        self._environment = environment
        self._say = say
        self._dags = dags
        self._min_free_mb = min_free_mb
        self._supervisor = Supervisor(layout)

    def up(self, user: Settings, mode: Mode) -> StackStatus:
        """Start what is missing and wait until every part is healthy. Harmless to repeat.

        Args:
            user: what the user alone has set (`load_settings(native=False)`).
            mode: `demo` runs the generated market with its own database, lake and Airflow metadata.

        Raises:
            ConfigError: a server is not installed, or the disk is nearly full.
            StorageError: a part did not become ready; the message ends with its log.
        """
        with self._locked():
            self._check_space()
            self.layout.make()
            self._clear_orphans()
            keys = load_keys(self.layout.keys_file)
            wanted = needs(user, mode)
            for last in (False, False, True):
                servers = self._prepare(keys, load_state(self.layout.state_file), wanted, mode)
                try:
                    self._start_databases(servers, keys, user, mode)
                    self._start_airflow(servers, keys)
                except GaplessError:
                    # A port may be lost to somebody else between its choice and its use.
                    if last or not self._stop_those_without_their_port(servers):
                        raise
                else:
                    break
        return self.status()

    def down(self) -> None:
        """Stop everything and prove that no process is left. Harmless to repeat, and works without a supervisor too.

        Raises:
            GaplessError: a process could not be ended.
        """
        if not self.layout.var.exists():
            return
        with self._locked():
            session = self._supervisor.session()
            if self._supervisor.pid() is not None:
                self._say("stopping Airflow")
                self._supervisor.stop_services(COMPONENTS)
                self._say("stopping the databases")
                self._supervisor.shutdown()
                self._wait_for_end(session, timeout_s=90)
            self._end_ours()

    def status(self) -> StackStatus:
        """The stack as it is now."""
        state = load_state(self.layout.state_file)
        states = self._supervisor.states()
        found = [ServiceStatus(s.name, s.state, s.pid, url_of(s.name, state.ports)) for s in states.values()]
        password_file = self.password_file(state)
        url = url_of("api-server", state.ports)
        running = any(service.name == "api-server" and service.state == "running" for service in found)
        return StackStatus(
            mode=state.mode,
            services=found,
            unhealthy=self.api(state).unhealthy() if running else [],
            url=url,
            login=LOGIN,
            password_file=str(password_file) if password_file.exists() else None,
        )

    def api(self, state: State | None = None) -> AirflowApi:
        """A client of the running Airflow, logged in as its administrator."""
        now = state or load_state(self.layout.state_file)
        if "airflow" not in now.ports:
            raise ConfigError("the stack has never been started here: gapless up")
        keys = load_keys(self.layout.keys_file)
        return AirflowApi(f"http://127.0.0.1:{now.ports['airflow']}", LOGIN, keys.airflow_login)

    def password_file(self, state: State | None = None) -> Path:
        mode = (state or load_state(self.layout.state_file)).mode or "real"
        return self.layout.home(mode) / "airflow" / "simple_auth_manager_passwords.json"

    def password(self) -> str:
        """The login's password, to be shown on a terminal and nowhere else."""
        return load_keys(self.layout.keys_file).airflow_login

    def running_values(self) -> dict[str, str]:
        """What the last start gave, as settings: these hold for its data whatever the caller's environment says."""
        lines = (line for line in self.layout.env_file.read_text().splitlines() if not line.startswith("#"))
        pairs = (line.partition("=") for line in lines)
        return {name.removeprefix("GAPLESS_").lower(): value.strip("'") for name, _, value in pairs}

    def last_mode(self) -> Mode | None:
        return load_state(self.layout.state_file).mode

    def leftovers(self) -> list[processes.Process]:
        """Every process of this stack that lives now."""
        return processes.ours(
            processes.snapshot(),
            stack_id=self.layout.stack_id,
            session=self._supervisor.session(),
            data_folders=self._stores,
        )

    @property
    def _stores(self) -> dict[Path, signal.Signals]:
        """Where the databases work, and how each ends cleanly (on SIGTERM, PostgreSQL would wait for its clients)."""
        return {
            self.layout.postgresql / "data": signal.SIGINT,
            self.layout.mariadb / "data": signal.SIGTERM,
            self.layout.redis: signal.SIGTERM,
        }

    def _locked(self) -> AbstractContextManager[object]:
        self.layout.var.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(self.layout.lock_file).acquire(timeout=300)
        except Timeout:
            raise GaplessError(
                "another `gapless up` or `down` has been at work for five minutes; end it first"
            ) from None

    def _check_space(self) -> None:
        free_mb = disk_usage(self.layout.var).free // 2**20
        if free_mb < self._min_free_mb:
            raise ConfigError(
                f"{free_mb} MB free on the disk of {self.layout.var}, {self._min_free_mb} MB are needed:"
                " make room, or set GAPLESS_VAR_DIR to a folder elsewhere"
            )

    def _clear_orphans(self) -> None:
        if self._supervisor.pid() is None and (orphans := self.leftovers()):
            self._say(f"ending {len(orphans)} processes of a stack whose supervisor died")
            self._end_ours()

    def _stop_those_without_their_port(self, servers: Servers) -> bool:
        """Stop the services on whose port another program listens. Returns whether there were any."""
        ours = self.leftovers()
        ports = load_state(self.layout.state_file).ports
        named = [(service.name, ports.get(port)) for service in servers.services for port in port_names(service.name)]
        robbed = [name for name, port in named if port and not is_free(port) and not processes.listens(ours, port)]
        if robbed:
            self._supervisor.stop_services(robbed)
        return bool(robbed)

    def _prepare(self, keys: Keys, state: State, wanted: Needs, mode: Mode) -> Servers:
        """Ports, specs and the supervisor's configuration; services whose spec changed are stopped."""
        states = self._supervisor.states()
        held = {port for name, found in states.items() if found.state in AT_WORK for port in port_names(name)}
        seed = int(self.layout.stack_id, 16)
        ports, lines = choose(PORT_NAMES, state.ports, held=held, seed=seed)
        for line in lines:
            self._say(line)
        servers = Servers(self.layout, mode, wanted, ports, keys, self._environment, self._dags)
        save_state(self.layout.state_file, msgspec.structs.replace(state, mode=mode, ports=ports))
        write_private(self.layout.env_file, env_file_text(servers.values))
        changed = [service.name for service in servers.services if write_spec(service, self.layout.run)]
        self._supervisor.write_config(servers.services)
        if self._supervisor.pid() is None:
            self._supervisor.start(servers.base)
        else:
            stale = [name for name in changed if name in states]
            if stale:
                self._say(f"settings changed: restarting {', '.join(stale)}")
                self._supervisor.stop_services(stale)
            self._supervisor.adopt_config()
        return servers

    def _start_databases(self, servers: Servers, keys: Keys, user: Settings, mode: Mode) -> None:
        if any(state.state != "running" for state in self._supervisor.states().values()):
            self._say("starting the databases")
        # Side by side: each waits for its own server most of the time.
        with ThreadPoolExecutor() as pool:
            work = [
                pool.submit(self._market_database, servers, keys, user, mode),
                pool.submit(self._metadata, servers, keys, mode),
            ]
            if servers.redis:
                work.append(pool.submit(self._redis, servers.redis))
            if servers.replica_url:
                work.append(pool.submit(self._answers, "replica", f"{servers.replica_url}/api/v3/ping"))
        for part in work:
            part.result()

    def _market_database(self, servers: Servers, keys: Keys, user: Settings, mode: Mode) -> None:
        if servers.mariadb:
            with self._explained("mariadb"):
                if not self._runs("mariadb"):
                    servers.mariadb.initialise()
                    self._supervisor.start_service("mariadb")
                servers.mariadb.wait_ready()
            servers.mariadb.create_user_and_database(MYSQL_USER, keys.mysql, list(DATABASES.values()))
        url = servers.values.get("GAPLESS_MYSQL_URL") or (user.mysql_url.get_secret_value() if user.mysql_url else "")
        upgrade_schema(url, servers.airflow.environment(), self.layout)

    def _metadata(self, servers: Servers, keys: Keys, mode: Mode) -> None:
        fresh = False
        with self._explained("postgresql"):
            if not self._runs("postgresql"):
                fresh = servers.postgresql.initialise()
                self._supervisor.start_service("postgresql")
            servers.postgresql.wait_ready()
        state = load_state(self.layout.state_file)
        if not fresh and state.migrated.get(mode) == airflow_version():
            return
        databases = (metadata_database("real"), metadata_database("demo"))
        servers.postgresql.create_user_and_databases(AIRFLOW_ROLE, keys.airflow_metadata, databases)
        servers.airflow.prepare()
        self._say("creating Airflow's metadata")
        run_logged(
            servers.airflow.command("db", "migrate"), servers.airflow.environment(), self.layout.log("airflow-migrate")
        )
        migrated = {} if fresh else state.migrated
        done = msgspec.structs.replace(state, migrated={**migrated, mode: airflow_version()})
        save_state(self.layout.state_file, done)

    def _redis(self, redis: PrivateRedis) -> None:
        with self._explained("redis"):
            if not self._runs("redis"):
                redis.write_config()
                self._supervisor.start_service("redis")
            redis.wait_ready(60)

    def _answers(self, name: str, url: str, timeout_s: float = 60) -> None:
        """Start a service of ours and wait until it answers with success."""
        self._supervisor.start_service(name)
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(OSError), _DIRECT.open(url, timeout=5):
                return
            self._supervisor.check_alive(name)
            if time.monotonic() > deadline:
                raise StorageError(f"{name} does not answer at {url}: {self._supervisor.log_tail(name)}")
            time.sleep(0.1)

    def _start_airflow(self, servers: Servers, keys: Keys, timeout_s: float = 240) -> None:
        servers.airflow.prepare()
        if not all(self._runs(name) for name in COMPONENTS):
            self._say("starting Airflow")
        for name in ("metrics", "archive-streams", "streamer", *COMPONENTS):
            self._supervisor.start_service(name)
        api = AirflowApi(servers.airflow.url, LOGIN, keys.airflow_login)
        deadline = time.monotonic() + timeout_s
        while unhealthy := self._unhealthy(api):
            for name in COMPONENTS:
                self._supervisor.check_alive(name)
            if time.monotonic() > deadline:
                part = unhealthy[0].partition(":")[0]
                raise StorageError(
                    f"Airflow is not healthy after {timeout_s:.0f} s ({'; '.join(unhealthy)}):"
                    f" {self._supervisor.log_tail(part if part in COMPONENTS else 'scheduler')}"
                )
            time.sleep(0.25)
        for name, (description, slots) in POOLS.items():
            api.ensure_pool(name, slots, description)
        # Ready long before Airflow is; what it measures may be away, and then it says so.
        self._answers("metrics", f"{servers.metrics_url}/healthz")
        # The streamer is not waited for: it speaks to the exchange, which may be away, and then it goes on trying.
        self._supervisor.check_alive("archive-streams")

    def _unhealthy(self, api: AirflowApi) -> list[str]:
        unhealthy = api.unhealthy()
        if not unhealthy:
            try:
                api.call("GET", "/pools?limit=1")
            except AirflowRefused as refused:
                if refused.status != 401:
                    raise
                raise StorageError("another Airflow answers on our port, one that does not know our login") from None
        return unhealthy

    def _runs(self, name: str) -> bool:
        state = self._supervisor.states().get(name)
        return state is not None and state.state == "running"

    def _explained(self, name: str) -> _Explained:
        return _Explained(self._supervisor, name)

    def _wait_for_end(self, session: processes.SessionRecord | None, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            leader = processes.read_process(session.pid) if session else None
            if (leader is None or session is None or leader.started != session.started) and (
                self._supervisor.pid() is None
            ):
                return
            time.sleep(0.05)

    def _end_ours(self) -> None:
        for _ in range(3):  # what was being started while the first were ended is found in the next round
            left = self.leftovers()
            if not left:
                break
            processes.end(left, stores=self._stores, timeout_s=8, stores_timeout_s=60)
        if left := self.leftovers():
            listed = "; ".join(f"{process.pid} {process.command()[:80]}" for process in left)
            raise GaplessError(f"these processes could not be ended: {listed}")
        self.layout.supervisor_socket.unlink(missing_ok=True)


class _Explained:
    """Adds the end of a service's log to the error of waiting for it."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StorageError):
            raise StorageError(f"{error} ({self._supervisor.log_tail(self._name)})") from None
