"""The window of commands on their way: batches in order, settled by counting replies, the newest settled remembered.

Pure: replies come in as numbers, times as values. A command is settled when Redis has it or never will.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from gapless.storage.live.latency import Latencies
from gapless.storage.live.resp import Command, Target

Packed = tuple[Target, bytes, bytes]
"""A `Command` as the hot path has it: making the named tuple would cost more than all else."""

_HOLD = frozenset(
    {"OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "NOAUTH"}
)


def is_passing(error: str) -> bool:
    """Whether Redis may take the same command later: it has no memory, no disk, or is being started or moved."""
    return error.partition(" ")[0] in _HOLD


class _Batch:
    __slots__ = ("commands", "cost", "done", "refused", "since_ns")

    def __init__(self, commands: Sequence[Packed], cost: int, since_ns: int) -> None:
        self.commands = commands
        self.cost = cost
        self.since_ns = since_ns
        self.done = 0
        self.refused: set[int] = set()


class Flight:
    """What was sent and not yet answered, and what was answered lately.

    Args:
        recent_ns, recent_bytes: how long, and how much, of what is settled is remembered.

    Attributes:
        cost: of all batches on their way.
        settled: commands that are done with, ever.
        held: commands that Redis refused for now, in order.
        overtaken: Streams that took a later command while one of theirs is held.
        latencies: from the first command of a batch to its last reply, counted for each command.
    """

    def __init__(self, recent_ns: int, recent_bytes: int) -> None:
        self.cost = 0
        self.settled = 0
        self.held: deque[Command] = deque()
        self.overtaken: set[Target] = set()
        self.latencies = Latencies()
        self._batches: deque[_Batch] = deque()
        self._recent: deque[tuple[int, Sequence[Packed], int]] = deque()
        self._recent_bytes = 0
        self._keep_ns, self._keep_bytes = recent_ns, recent_bytes

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def waiting(self) -> int:
        """How many commands are on their way."""
        return sum(len(batch.commands) - batch.done for batch in self._batches)

    @property
    def recent_bytes(self) -> int:
        """How much of what is settled is remembered."""
        return self._recent_bytes

    def add(self, commands: Sequence[Packed], cost: int, since_ns: int) -> None:
        """These were sent."""
        self._batches.append(_Batch(commands, cost, since_ns))
        self.cost += cost

    def settle(self, replies: int, now_ns: int) -> bool:
        """So many replies came, none an error. False: more than there were commands; the connection is worth nothing.

        Only without `held`: then who overtakes whom matters, see `settle_each`.
        """
        batches = self._batches
        while replies:
            if not batches:
                return False
            batch = batches[0]
            left = len(batch.commands) - batch.done
            if replies < left:
                batch.done += replies
                self.settled += replies
                return True
            replies -= left
            self.settled += left
            self._land(batch, now_ns)
        return True

    def settle_each(self, replies: int, errors: Iterable[tuple[int, str]], now_ns: int) -> list[tuple[Command, str]]:
        """The same, where errors came or commands are held. Returns what was refused for good, and why.

        Raises:
            IndexError: more replies than commands.
        """
        by_index = dict(errors)
        for_good: list[tuple[Command, str]] = []
        held = {command.target for command in self.held}
        for index in range(replies):
            batch = self._batches[0]
            command = Command._make(batch.commands[batch.done])
            error = by_index.get(index)
            if error is None:
                self.settled += 1
                if command.target in held and command.identity:
                    self.overtaken.add(command.target)
            else:
                batch.refused.add(batch.done)
                if is_passing(error) and command.identity:
                    self.held.append(command)
                    held.add(command.target)
                else:  # a last value or a trim that comes too late is let go without a word
                    self.settled += 1
                    if not is_passing(error):
                        for_good.append((command, error))
            batch.done += 1
            if batch.done == len(batch.commands):
                self._land(batch, now_ns)
        return for_good

    def drop_overtaken(self) -> list[Command]:
        """Give up what is held of Streams in which a place behind later entries is worth nothing. Returns it."""
        gone = [c for c in self.held if c.target in self.overtaken and not c.target.may_be_late]
        if gone:
            self.held = deque(c for c in self.held if c.target not in self.overtaken or c.target.may_be_late)
            self.settled += len(gone)
        self.overtaken.clear()
        return gone

    def ground(self) -> list[Command]:
        """The connection is gone: all of which it is not known whether Redis has it, in order. Nothing is left here."""
        doubtful = list(self.held)
        for batch in self._batches:
            doubtful += map(Command._make, batch.commands[batch.done :])
            self._remember(batch, batch.since_ns, batch.commands[: batch.done])
        self.held.clear()
        self.overtaken.clear()
        self._batches.clear()
        self.cost = 0
        return doubtful

    def recent(self) -> list[Command]:
        """What was settled lately, in order."""
        return [Command._make(command) for _, commands, _ in self._recent for command in commands]

    def forget_recent(self) -> None:
        """What was settled lately is on its way again, or counted as lost."""
        while self._recent:
            self._forget_oldest()

    def _land(self, batch: _Batch, now_ns: int) -> None:
        self._batches.popleft()
        self.cost -= batch.cost
        self.latencies.add(now_ns - batch.since_ns, len(batch.commands))
        self._remember(batch, now_ns, batch.commands)

    def _remember(self, batch: _Batch, now_ns: int, commands: Sequence[Packed]) -> None:
        if batch.refused:
            commands = [each for index, each in enumerate(commands) if index not in batch.refused]
        if commands:
            self._recent.append((now_ns, commands, batch.cost))
            self._recent_bytes += batch.cost
        before = now_ns - self._keep_ns
        while self._recent and (self._recent[0][0] < before or self._recent_bytes > self._keep_bytes):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, commands, cost = self._recent.popleft()
        self._recent_bytes -= cost
        for target, identity, _ in commands:
            if identity:
                target.last = identity
