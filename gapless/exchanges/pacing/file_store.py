"""The budget in a locked file: what all processes of one machine share when Redis is absent or away.

The lock is the kernel's (flock), so a killed process never leaves it held; the state is replaced by rename, so it is
never half-written. Nothing is synced to disk: after a power cut a minute's counts do not matter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout

from gapless.errors import StorageError
from gapless.exchanges.pacing.budget import DAY_MS, Answer, Charge, Halt, HaltKind, ban_length_ms, decide

log = logging.getLogger(__name__)

_LOCK_WAIT_S = 10.0
T = TypeVar("T")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Standstill(msgspec.Struct):
    """A halt at rest. `ends_ms` is on this boot's monotonic clock, `until_ms` on the exchange's."""

    kind: HaltKind
    ends_ms: int
    until_ms: int
    reason: str
    boot: str
    wall_end_ms: int


class _State(msgspec.Struct):
    spent: dict[str, dict[int, int]] = {}
    halt: _Standstill | None = None
    strikes: int = 0
    strikes_lapse_ms: int = 0
    strikes_boot: str = ""
    limits: dict[str, int] = {}


class FileStore:
    """One JSON file a scope. Thread- and process-safe; each operation is a few file calls under the lock."""

    def __init__(
        self,
        path: Path,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._wall = wall
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        self._lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_WAIT_S, thread_local=False)
        self._turn = asyncio.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    async def ask(self, charges: Sequence[Charge]) -> Answer:
        """Decide on a request and book it."""
        return await self._run(lambda state: self._ask(state, charges))

    async def halt(self, kind: HaltKind, length_ms: int | None, now_ms: int, reason: str) -> Halt:
        """Stop everybody; see `Store.halt`."""
        return await self._run(lambda state: self._stop(state, kind, length_ms, now_ms, reason))

    async def standing(self, pools: Sequence[str]) -> tuple[dict[str, dict[int, int]], Halt | None]:
        """What is spent by pool and window, and the halt in force."""
        return await self._run(
            lambda state: ({pool: state.spent.get(pool, {}) for pool in pools}, self._current(state))
        )

    async def limits(self) -> dict[str, int]:
        """The exchange's limits by pool, as some process read them."""
        return await self._run(lambda state: dict(state.limits))

    async def remember_limits(self, limits: Mapping[str, int]) -> None:
        """Tell the other processes the exchange's limits."""
        await self._run(lambda state: state.limits.update(limits))

    async def close(self) -> None:
        """Nothing to close."""

    async def _run(self, action: Callable[[_State], T]) -> T:
        async with self._turn:  # one thread at a time, however many tasks ask
            return await asyncio.to_thread(self._locked, action)

    def _locked(self, action: Callable[[_State], T]) -> T:
        try:
            with self._lock:
                state = self._read()
                result = action(state)
                self._write(state)
                return result
        except Timeout:
            raise StorageError(
                f"the request budget in {self._path} stayed locked for {_LOCK_WAIT_S:g} s: "
                "another gapless process there is stopped or its disk hangs; continue or end it"
            ) from None
        except OSError as error:
            raise StorageError(f"the request budget in {self._path} cannot be kept: {error}") from error

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            return _State()
        except msgspec.DecodeError:
            log.warning("the request budget in %s was unreadable and starts anew", self._path)
            return _State()

    def _write(self, state: _State) -> None:
        fresh = self._path.with_suffix(".new")  # one name is enough: the lock is held
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(self._path)

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1000)

    def _ask(self, state: _State, charges: Sequence[Charge]) -> Answer:
        state.spent, answer = decide(state.spent, self._current(state), charges)
        return answer

    def _stop(self, state: _State, kind: HaltKind, length_ms: int | None, now_ms: int, reason: str) -> Halt:
        current, now = self._current(state), self._now_ms()
        if length_ms is None and current and current.kind == kind:
            return current  # the echo of a request that was under way when the ban began
        if kind == "banned" and not (current and current.kind == "banned"):
            state.strikes = state.strikes + 1 if self._strikes_count(state, now) else 1
        left = ban_length_ms(max(state.strikes, 1)) if length_ms is None else length_ms
        if kind == "banned":
            state.strikes_lapse_ms, state.strikes_boot = now + left + DAY_MS, self._boot
        if current and current.left_ms >= left:
            return current
        state.halt = _Standstill(
            kind, now + left, now_ms + left if now_ms else 0, reason, self._boot, int(self._wall() * 1000) + left
        )
        return Halt(kind, left, state.halt.until_ms, reason)

    def _strikes_count(self, state: _State, now: int) -> bool:
        return state.strikes_boot == self._boot and now < state.strikes_lapse_ms

    def _current(self, state: _State) -> Halt | None:
        """The halt in force. After a reboot the wall clock must do: the monotonic one began anew."""
        halt = state.halt
        if halt is None:
            return None
        same_boot = halt.boot == self._boot
        left = halt.ends_ms - self._now_ms() if same_boot else halt.wall_end_ms - int(self._wall() * 1000)
        return Halt(halt.kind, left, halt.until_ms, halt.reason) if left > 0 else None
