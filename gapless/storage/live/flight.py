"""The window of commands on their way: batches in order, settled by counting replies, the newest settled remembered.

Pure: replies come in as numbers, times as values. A command is settled when Redis has it or never will.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from gapless.storage.live.latency import Latencies
from gapless.storage.live.resp import Command, Target, unpack

_HOLD = frozenset(
    {"OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "NOAUTH"}
)

_GENERATIONS = 8


def is_passing(error: str) -> bool:
    """Whether Redis may take the same command later: it has no memory, no disk, or is being started or moved."""
    return error.partition(" ")[0] in _HOLD


class Batch:
    """Commands that are written at once.

    Args:
        data: as `packing` made it.
        since_ns: when the first of them was given.
    """

    __slots__ = ("cost", "count", "data", "done", "newest", "refused", "since_ns")

    def __init__(self, data: bytes, count: int, cost: int, since_ns: int) -> None:
        self.data, self.count, self.cost, self.since_ns = data, count, cost, since_ns
        self.done = 0
        self.refused: set[int] | None = None
        self.newest: list[bytes] | None = None


class Flight:
    """What was sent and not yet answered, and what was answered lately.

    What is settled is forgotten by generations: the last batch of each knows what the newest entry of every Stream was
    when it was made, so that which entry came before all that are remembered need not be noted for each.

    Args:
        recent_ns, recent_bytes: how long, and how much, of what is settled is remembered; an eighth is a generation.
        targets: by key, all that are written to; it grows.

    Attributes:
        cost: of all batches on their way.
        settled: commands that are done with, ever.
        held: commands that Redis refused for now, in order.
        overtaken: Streams that took a later command while one of theirs is held.
        latencies: from the first command of a batch to its last reply, counted for each command.
        on_landed: told the bytes of each batch when its last reply has come, of all flights; for who measures.
    """

    on_landed: ClassVar[Callable[[bytes], None] | None] = None

    def __init__(self, recent_ns: int, recent_bytes: int, targets: Mapping[bytes, Target]) -> None:
        self.cost = 0
        self.settled = 0
        self.held: deque[Command] = deque()
        self.overtaken: set[Target] = set()
        self.latencies = Latencies()
        self._targets = targets
        self._batches: deque[Batch] = deque()
        self._recent: deque[Batch] = deque()
        self._ends: deque[tuple[int, Batch]] = deque()
        self._recent_bytes = 0
        self._keep_ns, self._keep_bytes = recent_ns, recent_bytes
        self._generation_ns = self._generation_bytes = 0
        self._forgotten: list[bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def recent_bytes(self) -> int:
        """How much of what is settled is remembered."""
        return self._recent_bytes

    def made(self, batch: Batch) -> None:
        """All commands that were ever given are in this batch and those before it."""
        self._generation_bytes += batch.cost
        if (
            batch.since_ns - self._generation_ns >= self._keep_ns // _GENERATIONS
            or self._generation_bytes >= self._keep_bytes // _GENERATIONS
        ):
            batch.newest = [target.newest for target in self._targets.values()]
            self._generation_ns, self._generation_bytes = batch.since_ns, 0

    def add(self, batch: Batch) -> None:
        """It was sent."""
        self._batches.append(batch)
        self.cost += batch.cost

    def settle(self, replies: int, now_ns: int) -> bool:
        """So many replies came, none an error. False: more than there were commands; the connection is worth nothing.

        Only without `held`: then who overtakes whom matters, see `settle_each`.
        """
        batches = self._batches
        while replies:
            if not batches:
                return False
            batch = batches[0]
            left = batch.count - batch.done
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
        batch, commands = None, []
        for index in range(replies):
            if batch is not self._batches[0]:
                batch = self._batches[0]
                commands = unpack(batch.data, self._targets)
            command = commands[batch.done]
            error = by_index.get(index)
            if error is None:
                self.settled += 1
                if command.target in held and command.identity:
                    self.overtaken.add(command.target)
            else:
                batch.refused = {*(batch.refused or ()), batch.done}
                if is_passing(error) and command.identity:
                    self.held.append(command)
                    held.add(command.target)
                else:  # a last value or a trim that comes too late is let go without a word
                    self.settled += 1
                    if not is_passing(error):
                        command.target.newest = b""
                        for_good.append((command, error))
            batch.done += 1
            if batch.done == batch.count:
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
            commands = unpack(batch.data, self._targets)
            doubtful += commands[batch.done :]
            if batch.done:
                done = b"".join(packed for _, _, packed in commands[: batch.done])
                settled = Batch(done, batch.done, batch.cost * batch.done // batch.count, batch.since_ns)
                settled.refused = batch.refused
                self._remember(settled, batch.since_ns)
        self.held.clear()
        self.overtaken.clear()
        self._batches.clear()
        self.cost = 0
        return doubtful

    def recent(self) -> list[Command]:
        """What was settled lately, in order; every target's `last` is the entry before."""
        if self._forgotten is not None:
            for target, identity in zip(self._targets.values(), self._forgotten, strict=False):
                target.last = identity
        return [command for batch in self._recent for command in self._taken(batch)]

    def forget_recent(self, tails: Mapping[Target, Sequence[bytes]]) -> None:
        """What was settled lately is in these tails, or on its way again, or counted as lost."""
        self._recent.clear()
        self._ends.clear()
        self._recent_bytes = 0
        self._forgotten = None
        for target, tail in tails.items():
            target.last = tail[-1] if tail else target.last

    def _taken(self, batch: Batch) -> list[Command]:
        refused = batch.refused or ()
        return [each for index, each in enumerate(unpack(batch.data, self._targets)) if index not in refused]

    def _land(self, batch: Batch, now_ns: int) -> None:
        self._batches.popleft()
        self.cost -= batch.cost
        self.latencies.add(now_ns - batch.since_ns, batch.count)
        if Flight.on_landed is not None:
            Flight.on_landed(batch.data)
        self._remember(batch, now_ns)

    def _remember(self, batch: Batch, now_ns: int) -> None:
        self._recent.append(batch)
        self._recent_bytes += batch.cost
        if batch.newest is not None:
            self._ends.append((now_ns, batch))
        before = now_ns - self._keep_ns
        while self._ends and (self._ends[0][0] < before or self._recent_bytes > self._keep_bytes):
            self._forget_generation()

    def _forget_generation(self) -> None:
        _, last = self._ends.popleft()
        while True:
            batch = self._recent.popleft()
            self._recent_bytes -= batch.cost
            if batch is last:
                break
        self._forgotten = last.newest
