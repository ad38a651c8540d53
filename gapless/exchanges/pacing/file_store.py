"""The budget in a locked file: what all processes of one machine share when Redis is absent or away.

The lock is the kernel's (flock on the file itself), so a killed process never leaves it held; the state is some hundred
bytes written in one call, which a kill cannot cut in two. Nothing is synced to disk: after a power cut the counts of a
minute do not matter, and a file that cannot be read starts anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from gapless.errors import StorageError
from gapless.exchanges.pacing.budget import DAY_MS, Answer, Charge, Halt, HaltKind, ban_length_ms, decide

log = logging.getLogger(__name__)

_LOCK_WAIT_S = 10.0
_LOCK_POLL_S = 0.002
_MOST_BYTES = 1 << 20
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
        """Do it at once when nobody holds the lock, which costs some tens of microseconds; else wait in a thread."""
        async with self._turn:
            try:
                return self._locked(action, 0)
            except BlockingIOError:
                return await asyncio.to_thread(self._patiently, action)

    def _patiently(self, action: Callable[[_State], T]) -> T:
        try:
            return self._locked(action, _LOCK_WAIT_S)
        except BlockingIOError:
            raise StorageError(
                f"the request budget in {self._path} stayed locked for {_LOCK_WAIT_S:g} s: "
                "another gapless process there is stopped or its disk hangs; continue or end it"
            ) from None

    def _locked(self, action: Callable[[_State], T], wait_s: float) -> T:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _lock(file, wait_s)
                text = os.read(file, _MOST_BYTES)
                state = self._decode(text)
                result = action(state)
                # One write over the old text, padded to its length. A rename would cost a flush to the disk each time.
                os.pwrite(file, msgspec.json.encode(state).ljust(len(text)), 0)
                return result
            finally:
                os.close(file)  # gives the lock back
        except BlockingIOError:
            raise
        except OSError as error:
            raise StorageError(f"the request budget in {self._path} cannot be kept: {error}") from error

    def _decode(self, text: bytes) -> _State:
        try:
            return msgspec.json.decode(text, type=_State) if text else _State()
        except msgspec.DecodeError:
            log.warning("the request budget in %s was unreadable and starts anew", self._path)
            return _State()

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


def _lock(file: int, wait_s: float) -> None:
    """Lock the open file for this process alone; BlockingIOError when somebody else keeps it for so long."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOCK_POLL_S)
        else:
            return
