"""What to send again after the connection was cut, so that nothing is missing and nothing doubled. Pure.

The old connection is killed in Redis before the tails are read, so what it had sent is either in them or will never
be. We alone write to a Stream, in order: what is not in its tail was not taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gapless.storage.live.resp import Command, Target

_OTHERS = 1000
"""How many entries of others may lie among ours in a shared Stream."""


@dataclass(frozen=True, slots=True)
class Resend:
    """What the tails say of doubtful commands.

    Attributes:
        missing: to be sent again, in this order.
        found: those that Redis has.
        overtaken: not there while a later one of the same Stream is, and not worth a place behind it.
        idle: commands that nobody sends again, such as a trim or a last value.
    """

    missing: list[Command]
    found: list[Command]
    overtaken: list[Command]
    idle: int


def tails_needed(doubtful: Sequence[Command]) -> dict[Target, int]:
    """Of which Streams the tail must be read, and how many entries of it."""
    counts = Counter(command.target for command in doubtful if command.identity)
    return {target: count + (_OTHERS if target.shared else 0) for target, count in counts.items()}


def plan_resend(doubtful: Sequence[Command], tails: Mapping[Target, Collection[bytes]]) -> Resend:
    """Tell what is there from what is missing.

    Args:
        doubtful: commands in the order in which they were sent, of which it is not known whether they were taken.
        tails: identities of the newest entries of each Stream, a set; of one that is absent nothing is there.
    """
    missing: list[Command] = []
    found: list[Command] = []
    overtaken: list[Command] = []
    idle = 0
    later_is_there: set[Target] = set()
    for command in reversed(doubtful):
        target = command.target
        if not command.identity:
            idle += 1
        elif command.identity in tails.get(target, ()):
            later_is_there.add(target)
            found.append(command)
        elif target in later_is_there and not target.may_be_late:
            overtaken.append(command)
        else:
            missing.append(command)
    return Resend(missing[::-1], found[::-1], overtaken[::-1], idle)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a Redis that was started anew lacks of a Stream.

    Attributes:
        brought_again: entries that had been acknowledged, were lost, and are sent again.
        whole: whether that is all that was lost, as far as the tail shows.
    """

    target: Target
    brought_again: tuple[bytes, ...]
    whole: bool


def plan_losses(
    acknowledged: Sequence[Command],
    doubtful: Sequence[Command],
    targets: Iterable[Target],
    tails: Mapping[Target, Sequence[bytes]],
) -> list[Loss]:
    """Which Streams lost what was acknowledged.

    Args:
        acknowledged: the newest acknowledged commands that are still remembered, in order.
        doubtful: those sent after them.
        targets: all Streams ever written to.
        tails: identities of the newest entries of each, oldest first.
    """
    recent = _by_target(acknowledged)
    newer = _by_target(doubtful)
    losses = []
    for target in targets:
        ours = recent.get(target, [])
        if not ours and not target.last:
            continue
        tail = tails.get(target, ())
        there = frozenset(tail)
        if target.ages and not there and not ours:
            continue  # nothing was written lately, and what was before has gone by its age
        gone = tuple(identity for identity in ours if identity not in there)
        known = {target.last, *ours, *newer.get(target, ())}
        reaches_back = bool(there) and (not known.isdisjoint(tail) if target.shared else tail[-1] in known)
        if gone or not reaches_back:
            losses.append(Loss(target, gone, reaches_back))
    return losses


def _by_target(commands: Sequence[Command]) -> dict[Target, list[bytes]]:
    found: dict[Target, list[bytes]] = {}
    for command in commands:
        if command.identity:
            found.setdefault(command.target, []).append(command.identity)
    return found
