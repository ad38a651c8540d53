"""Says no, once, to a native backfill of more runs than its author may have in mind.

Airflow's backfill form creates any number of runs at one click: ten years of an hourly DAG are 87,600. Above 200 the
request must name the number it expects, as `confirm_runs` in the run configuration. The count is Airflow's own dry
run, so runs that exist already and would not be made again do not count.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

LIMIT = 200
"""Runs that a backfill may create without being asked."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT_BYTES = 1 << 20
"""A backfill's body is a few hundred bytes; a larger one is handed on unread, for Airflow to judge."""


def refusal(dag_id: str, runs: int, conf: object) -> str | None:
    """Why this backfill is refused, or None when it may go on.

    Args:
        dag_id: the DAG.
        runs: how many runs it would create now.
        conf: the run configuration that came with it; `confirm_runs` at or above `runs` confirms.
    """
    if runs <= LIMIT:
        return None
    confirmed = conf.get("confirm_runs") if isinstance(conf, dict) else None
    if isinstance(confirmed, int) and not isinstance(confirmed, bool) and confirmed >= runs:
        return None
    said = "" if confirmed is None else f" (it says {confirmed!r})"
    return (
        f"This backfill of {dag_id} would create {runs} runs, more than {LIMIT}. To go on, confirm the number: set "
        f'confirm_runs to {runs} in the run configuration{said}, {{"confirm_runs": {runs}}}. '
        "Fewer, longer runs: trigger the DAG with start and end, up to seven days a run."
    )


class LargeBackfillGuard:
    """ASGI middleware of the API server: answers `POST .../api/v2/backfills` with 409 and the reason when it is large.

    The number of runs is asked of the application itself, at `.../backfills/dry_run`, with the caller's own
    credentials: who may not make a backfill gets Airflow's own answer, and no internals of Airflow are used. The UI
    shows `detail`.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", "")).rstrip("/")
        if scope["type"] != "http" or scope.get("method") != "POST" or not path.endswith("/api/v2/backfills"):
            await self.app(scope, receive, send)
            return
        received = await _read(receive)
        body = b"".join(message.get("body", b"") for message in received)
        reason = await self._reason({**scope}, path, body) if len(body) <= BODY_LIMIT_BYTES else None
        if reason is None:
            await self.app(scope, _replay(received, receive), send)
            return
        answer = json.dumps({"detail": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 409, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _reason(self, scope: Scope, path: str, body: bytes) -> str | None:
        """The refusal, or None; None too when the dry run is refused, so that Airflow answers in its own words."""
        asked = _json_object(body)
        if asked is None:
            return None
        scope.update(path=f"{path}/dry_run", raw_path=f"{path}/dry_run".encode(), state=dict(scope.get("state") or {}))
        status, answer = await _call(self.app, scope, body)
        counted = _json_object(answer) if status == 200 else None
        if counted is None:
            return None
        return refusal(str(asked.get("dag_id")), int(counted["total_entries"]), asked.get("dag_run_conf"))


async def _read(receive: Receive) -> list[Message]:
    """The messages of a request's body, up to its end, a disconnect, or the limit."""
    messages: list[Message] = []
    size = 0
    while size <= BODY_LIMIT_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return messages


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives these messages again, then goes on with the real one."""
    waiting = iter(messages)

    async def again() -> Message:
        for message in waiting:
            return message
        return await receive()

    return again


async def _call(app: App, scope: Scope, body: bytes) -> tuple[int, bytes]:
    """Asks the application in process; the HTTP status and the body of its answer."""
    status = 0
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = int(message["status"])
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(parts)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
