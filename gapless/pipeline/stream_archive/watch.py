"""What looks at the Streams say: what was lost, what is about to be, how each kind stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gapless.domain.live import GAPS_KEY, GapEvent, GapReason, Kind, parse_stream_key
from gapless.domain.retention import SpoolBounds, StreamBounds
from gapless.storage.live import StreamState
from gapless.storage.live.trimming import id_of

ALARM_SHARE = 0.8
"""From which share of a bound on an alarm stands."""

STATE_PREFIX = "last.archive."
STATE_EXPIRES_S = 30


class KindStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind stands.

    Attributes:
        taken, refused, lost: entries since this consumer started; lost is at least: what nobody can count adds nothing.
        waiting, pending: entries not yet handed out; handed out and not acknowledged.
        oldest_untaken_s: age of the oldest entry that is not acknowledged, 0 when there is none.
        bytes: in Redis.
    """

    kind: Kind
    streams: int
    taken: int
    per_second: float
    waiting: int
    pending: int
    oldest_untaken_s: float
    refused: int
    lost: int
    bytes: int


class ArchiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer says of itself, in Redis under `last.archive.<consumer>`, gone when it is.

    Attributes:
        state: `taking`, or why it does not.
        alarms: what will lose entries when nothing is done.
        at_ms, started_ms: UTC ms.
    """

    consumer: str
    state: str
    alarms: list[str]
    kinds: list[KindStatus]
    redis_bytes: int
    spool_bytes: int
    started_ms: int
    at_ms: int


def kind_of(key: str) -> Kind:
    """The kind of a Stream; its key is known to be one of ours."""
    return Kind.GAPS if key == GAPS_KEY else parse_stream_key(key).kind


def trimmed(state: StreamState, counted_id: str, now_ms: int) -> GapEvent | None:
    """The entries that were removed before anybody took them, as far as a look can tell; None: none, or not yet.

    Args:
        counted_id: up to which the Stream was handed out at the last look that could count; empty: there was none.
    """
    count = state.passed_over
    if not count or state.key == GAPS_KEY:
        return None
    if state.following_id:
        after, until = counted_id or state.delivered_id, state.first_id
    else:
        after, until = counted_id, state.delivered_id
    return gap(state.key, GapReason.TRIMMED, after, until, count, now_ms, "removed from the Stream before it was taken")


def went_back(state: StreamState, before: StreamState | None, now_ms: int) -> GapEvent | None:
    """A Stream whose last id is older than it was: Redis came back without what it had last."""
    if before is None or state.key == GAPS_KEY or not before.last_id:
        return None
    if id_of(state.last_id) >= id_of(before.last_id):
        return None
    detail = "Redis lost its newest entries"
    return gap(state.key, GapReason.RESTARTED, state.last_id, before.last_id, -1, now_ms, detail)


def gap(key: str, reason: GapReason, from_id: str, to_id: str, count: int, now_ms: int, detail: str) -> GapEvent:
    """An event for `md.gaps` of one Stream."""
    name = parse_stream_key(key)
    return GapEvent(
        kind=name.kind,
        exchange=name.exchange,
        symbol=name.symbol,
        reason=reason,
        from_id=from_id,
        to_id=to_id,
        count=count,
        at_ms=now_ms,
        detail=detail,
    )


def alarms(
    states: Iterable[StreamState],
    now_ms: int,
    streams: StreamBounds,
    spool: SpoolBounds,
    spool_bytes: int,
) -> list[str]:
    """What is about to be lost: said at 80 % of each bound, before anything is."""
    found: list[str] = []
    taken = [state for state in states if state.has_group]
    late = [(untaken_s(state, now_ms), state.key) for state in taken]
    border_s = ALARM_SHARE * streams.minutes * 60
    worst_s, key = max(late, default=(0.0, ""))
    if worst_s >= border_s:
        others = sum(seconds >= border_s for seconds, _ in late) - 1
        found.append(
            f"{key}: an entry has waited {worst_s:.0f} s to be taken, the Streams are bounded to {streams.minutes} min"
            + (f" ({others} more Streams)" if others else "")
        )
    held = sum(_untaken_bytes(state) for state in taken)
    if held >= ALARM_SHARE * streams.bytes:
        found.append(f"entries that are not taken hold {held} of the {streams.bytes} bytes that the Streams may have")
    if spool_bytes >= ALARM_SHARE * spool.bytes:
        found.append(f"the spool holds {spool_bytes} of {spool.bytes} bytes: publish its hours (stream_archive_hourly)")
    return found


def untaken_s(state: StreamState, now_ms: int) -> float:
    """How long the oldest entry that is not acknowledged has waited, in s; 0: none."""
    oldest = state.oldest_untaken_id
    return max(0.0, (now_ms - id_of(oldest)[0]) / 1000) if oldest else 0.0


def by_kind(
    kinds: Sequence[Kind],
    states: Sequence[StreamState],
    now_ms: int,
    *,
    taken: Mapping[Kind, int],
    per_second: Mapping[Kind, float],
    refused: Mapping[Kind, int],
    lost: Mapping[Kind, int],
) -> list[KindStatus]:
    """The kinds that are taken, each over all its Streams."""
    found: list[KindStatus] = []
    for kind in kinds:
        own = [state for state in states if kind_of(state.key) is kind]
        found.append(
            KindStatus(
                kind=kind,
                streams=len(own),
                taken=taken.get(kind, 0),
                per_second=round(per_second.get(kind, 0.0), 1),
                waiting=sum(max(0, state.waiting) for state in own),
                pending=sum(max(0, state.pending) for state in own),
                oldest_untaken_s=max((untaken_s(state, now_ms) for state in own), default=0.0),
                refused=refused.get(kind, 0),
                lost=lost.get(kind, 0),
                bytes=sum(state.bytes for state in own),
            )
        )
    return found


def _untaken_bytes(state: StreamState) -> int:
    untaken = max(0, state.waiting) + max(0, state.pending)
    return state.bytes * min(untaken, state.length) // state.length if state.length else 0
