"""supervisord, which keeps the services alive: its configuration, its start, and its control over a Unix socket."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from supervisor.xmlrpc import SupervisorTransport

from gapless.errors import GaplessError, StorageError
from gapless.stack.layout import Layout
from gapless.stack.private_files import write_private
from gapless.stack.processes import SessionRecord, boot_id, read_process
from gapless.stack.service import Service, spec_file

AT_WORK = ("running", "starting", "backoff")
"""States in which the supervisor itself sees to the service."""
_RPC_GONE = (OSError, xmlrpc.client.ProtocolError)


class ServiceState(msgspec.Struct, frozen=True):
    """What the supervisor says of a service.

    Attributes:
        state: `running`, `starting`, `stopped`, `backoff` (died, will be tried again), `fatal` (given up), ...
        pid: None while there is no process.
    """

    name: str
    state: str
    pid: int | None
    uptime_s: int
    reason: str


class Supervisor:
    """The supervisor of one stack. The stack starts the services, in order; the supervisor keeps them alive."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.config_file = layout.run / "supervisord.conf"
        self.record_file = layout.run / "supervisor.json"

    def write_config(self, services: Iterable[Service]) -> None:
        """The configuration for these services, mode 0600. Commands and environments stand in their own files."""
        run, logs = self._layout.run, self._layout.logs
        sections: dict[str, Mapping[str, object]] = {
            "unix_http_server": {"file": self._layout.supervisor_socket, "chmod": "0700"},
            "supervisord": {
                "logfile": logs / "supervisord.log",
                "logfile_maxbytes": "5MB",
                "logfile_backups": 2,
                "pidfile": run / "supervisord.pid",
                "childlogdir": logs,
                "umask": "077",
            },
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
            },
        }
        sections |= {f"program:{service.name}": self._program(service) for service in services}
        text = "; Written by Gapless at every start.\n"
        for name, options in sections.items():
            text += f"[{name}]\n" + "".join(f"{k} = {str(v).replace('%', '%%')}\n" for k, v in options.items()) + "\n"
        write_private(self.config_file, text)

    def _program(self, service: Service) -> Mapping[str, object]:
        spec = spec_file(service.name, self._layout.run)
        return {
            "command": f'"{sys.executable}" -m gapless.stack.launch "{spec}"',
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 20,  # each waits a second longer than the one before: three and a half minutes in all
            "stopsignal": service.stop_signal,
            "stopwaitsecs": service.stop_wait_s,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self._layout.log(service.name),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
        }

    def pid(self) -> int | None:
        """The process id of the running supervisor, None when it does not answer."""
        try:
            return int(self._call("getPID"))
        except _RPC_GONE:
            return None

    def session(self) -> SessionRecord | None:
        """The session that the last start made, whether it lives or not."""
        try:
            return msgspec.json.decode(self.record_file.read_bytes(), type=SessionRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the supervisor in the background, in a session of its own, and wait until it answers.

        Raises:
            StorageError: it did not start; the message ends with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.config_file)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._layout.root,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 15
        while (pid := self.pid()) is None:
            if done.returncode != 0 or time.monotonic() > deadline:
                said = " ".join((done.stdout + done.stderr).split())[-600:]
                raise StorageError(f"the supervisor did not start: {said or self._layout.log('supervisord')}")
            time.sleep(0.05)
        process = read_process(pid)
        if process is not None:
            record = SessionRecord(pid=pid, started=process.started, boot=boot_id())
            write_private(self.record_file, msgspec.json.encode(record).decode() + "\n")

    def adopt_config(self) -> None:
        """Make the running supervisor follow the written configuration: services no longer in it are stopped."""
        added, changed, removed = self._call("reloadConfig")[0]
        for name in [*removed, *changed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)

    def states(self) -> dict[str, ServiceState]:
        """Every configured service; empty when the supervisor is not running."""
        try:
            answers = self._call("getAllProcessInfo")
        except _RPC_GONE:
            return {}
        return {
            answer["name"]: ServiceState(
                name=answer["name"],
                state=answer["statename"].lower(),
                pid=answer["pid"] or None,
                uptime_s=max(0, answer["now"] - answer["start"]) if answer["pid"] else 0,
                reason=answer["spawnerr"],
            )
            for answer in answers
        }

    def start_service(self, name: str) -> None:
        """Start it unless it runs. Returns at once; the caller waits for the service itself to answer."""
        if self.states()[name].state not in AT_WORK:
            self._call("startProcess", name, False)

    def stop_services(self, names: Iterable[str]) -> None:
        """Stop these side by side and wait for their ends; the supervisor kills what outstays its own patience."""
        wanted = set(names)
        for name in wanted & set(self._living()):
            # It may end between the look and the call; then there is nothing left to stop.
            with contextlib.suppress(GaplessError):
                self._call("stopProcess", name, False)
        deadline = time.monotonic() + 120
        while left := wanted & set(self._living()):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{', '.join(sorted(left))} did not stop: {self._layout.log('supervisord')} says why"
                )
            time.sleep(0.05)

    def _living(self) -> list[str]:
        return [name for name, state in self.states().items() if state.state not in ("stopped", "exited", "fatal")]

    def check_alive(self, name: str) -> None:
        """Say so when a service that is being waited for will not come.

        Raises:
            StorageError: the supervisor has given it up; the message ends with the last lines of its log.
        """
        state = self.states().get(name)
        if state is None or state.state == "fatal":
            raise StorageError(f"{name} does not start: {self.log_tail(name)}")

    def log_tail(self, name: str, lines: int = 5) -> str:
        """The last lines of its log, joined, with where the log lies."""
        log = self._layout.log(name)
        if not log.exists():
            return f"it left no log in {log}"
        return f"{log} ends: " + " | ".join(log.read_text(errors="replace").splitlines()[-lines:])

    def shutdown(self) -> None:
        """Tell it to stop every service and then itself; returns at once."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._layout.supervisor_socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise GaplessError(f"the supervisor refused {method} {arguments}: {fault.faultString}") from None
        finally:
            transport.close()
