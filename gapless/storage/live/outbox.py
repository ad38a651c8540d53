"""What was given and not yet written: entries in their parts, then batches in the order in which they go. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from gapless.storage.live.flight import Batch
from gapless.storage.live.packing import Packer
from gapless.storage.live.resp import Command, Target, unpack

_COMMANDS_A_WRITE = 1000


class Outbox:
    """Keeps and packs.

    Args:
        batch_bytes: about so many make a batch.
        surcharge: what a command costs beside its bytes.
        on_first, on_full: see `Packer`.

    Attributes:
        packer: what takes commands.
        packed: commands that ever came into batches from there.
    """

    def __init__(
        self, batch_bytes: int, surcharge: int, on_first: Callable[[], None], on_full: Callable[[], None]
    ) -> None:
        self.packer = Packer(on_first, on_full)
        self.packed = 0
        self._batches: deque[Batch] = deque()
        self._batch_bytes, self._surcharge = batch_bytes, surcharge

    def __bool__(self) -> bool:
        """Whether there is a batch."""
        return bool(self._batches)

    @property
    def given(self) -> int:
        """Commands that were ever taken."""
        return self.packed + len(self.packer)

    @property
    def unpacked_cost(self) -> int:
        """What is in no batch yet."""
        return self.packer.size + len(self.packer) * self._surcharge

    @property
    def packed_cost(self) -> int:
        """All batches."""
        return sum(batch.cost for batch in self._batches)

    def pack(self, since_ns: int, room: int) -> Batch | None:
        """Make a batch of what was given, if anything was.

        Args:
            room: what may be given before it; the next batch is full when it is used up, or at `batch_bytes`, judged by
                the sizes in this one.
        """
        data, count = self.packer.take()
        if not count:
            return None
        batch = self._batch(data, count, since_ns)
        self.packed += count
        self._batches.append(batch)
        self.packer.aim(min(self._batch_bytes * count // len(data), (room - batch.cost) * count // batch.cost))
        return batch

    def pack_again(self, commands: Sequence[Command], since_ns: int) -> None:
        """Send these, that were counted before, ahead of all that is packed."""
        batches = []
        for start in range(0, len(commands), _COMMANDS_A_WRITE):
            some = [each.packed for each in islice(commands, start, start + _COMMANDS_A_WRITE)]
            batches.append(self._batch(b"".join(some), len(some), since_ns))
        self._batches.extendleft(reversed(batches))

    def alone(self, command: Command, since_ns: int) -> Batch:
        """A batch of this command, which was counted before; it is not kept here."""
        return self._batch(command.packed, 1, since_ns)

    def next(self) -> Batch:
        """The oldest batch."""
        return self._batches.popleft()

    def empty(self, targets: Mapping[bytes, Target]) -> list[Command]:
        """Everything, in order; nothing is left."""
        self.pack(0, 0)
        data = b"".join(batch.data for batch in self._batches)
        self._batches.clear()
        return unpack(data, targets)

    def _batch(self, data: bytes, count: int, since_ns: int) -> Batch:
        return Batch(data, count, len(data) + count * self._surcharge, since_ns)
