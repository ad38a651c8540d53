"""Ports on loopback: chosen free once, kept, and chosen anew only when somebody else took one meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping
from typing import Final

LOOPBACK: Final = "127.0.0.1"
PREFERRED: Final = {"airflow": 8080, "metrics": 9464, "streamer": 9465}
# Below the kernel's range for outgoing connections (32768 up), or a passing connection could sit on a kept port.
_FIRST, _LAST = 21_000, 31_999


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of the loopback address (closed connections still lingering do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(
    names: Iterable[str], kept: Mapping[str, int], *, held: Collection[str] = (), seed: int = 0
) -> tuple[dict[str, int], list[str]]:
    """A port for each name, and a line for each kept one that had to change.

    Args:
        names: what needs a port.
        kept: the ports of earlier starts.
        held: names whose kept port is in use by our own running service.
        seed: where to begin looking, so that two stacks of one machine do not try the same ports first.
    """
    chosen: dict[str, int] = {}
    lines: list[str] = []
    for name in names:
        port = kept.get(name)
        if port is not None and (name in held or is_free(port)):
            chosen[name] = port
            continue
        taken = {*chosen.values(), *kept.values()}
        fresh = next(p for p in _candidates(PREFERRED.get(name), seed) if p not in taken and is_free(p))
        if port is not None:
            lines.append(f"port {port} of {name} was taken by another program: {name} moves to {fresh}")
        chosen[name] = fresh
    return chosen, lines


def _candidates(preferred: int | None, seed: int) -> Iterable[int]:
    if preferred is not None:
        yield preferred
    span = _LAST - _FIRST + 1
    for step in range(span):
        yield _FIRST + (seed + step) % span
