"""After a cut, or a start of Redis: what it has of what was sent, asked on the new connection before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gapless.storage.live.connecting import Wire
from gapless.storage.live.fence import Loss, plan_losses, plan_resend, tails_needed
from gapless.storage.live.flight import Flight
from gapless.storage.live.resp import Command, Target


@dataclass(frozen=True, slots=True)
class Settled:
    """What was found out.

    Attributes:
        missing: to be sent again, in this order.
        brought: how many of them had been acknowledged.
        overtaken: given up, see `fence.Resend`.
        losses: of a Redis that was started anew.
    """

    missing: Sequence[Command]
    brought: int
    overtaken: Sequence[Command]
    losses: Sequence[Loss]


async def settle_doubts(
    wire: Wire, flight: Flight, doubtful: Sequence[Command], targets: Mapping[bytes, Target], *, anew: bool
) -> Settled | None:
    """Ask for the tails that tell; None: there is no doubt. All but what is missing counts as settled afterwards.

    Args:
        anew: Redis was started since, and may lack what it had acknowledged.

    Raises:
        StorageError: Redis is away, or refuses.
    """
    acknowledged = flight.recent() if anew else []
    wanted = tails_needed([*acknowledged, *doubtful])
    if anew:
        for target in targets.values():
            wanted.setdefault(target, 1)
    if not wanted and not doubtful:
        return None
    tails = await wire.tails(wanted)
    plan = plan_resend([*acknowledged, *doubtful], {target: frozenset(tail) for target, tail in tails.items()})
    again = set(map(id, acknowledged))
    brought = sum(1 for command in plan.missing if id(command) in again)
    losses: list[Loss] = []
    if anew:
        losses = plan_losses(acknowledged, doubtful, targets.values(), tails)
        flight.forget_recent(tails)
    flight.settled += len(doubtful) - (len(plan.missing) - brought)
    return Settled(plan.missing, brought, plan.overtaken, losses)
