"""`gapless stream --status`: how all streamers stand, read from Redis, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from gapless.errors import StorageError, ValidationError
from streamer.operations.status import (
    KEY_PREFIX,
    StreamerStatus,
    StreamStatus,
    decode_status,
    problems,
)

if TYPE_CHECKING:
    from rich.table import Table

_TIMEOUT_S = 5.0
_ROWS = 40
_PIPED_WIDTH = 160
_MOST_SHARDS = 1_000


def read_states(url: str) -> list[StreamerStatus]:
    """What all streamers say of themselves, by shard; those that are gone are not among them.

    Raises:
        StorageError: Redis did not answer. ValidationError: a state cannot be read.
    """
    client = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
    try:
        keys = sorted(client.scan_iter(f"{KEY_PREFIX}*", count=1_000))[:_MOST_SHARDS]
        values = client.mget(keys) if keys else []
    except (RedisError, OSError) as error:
        raise StorageError(f"the streamers' state cannot be read from Redis: {error}") from None
    finally:
        client.close()
    return [decode_status(value) for value in values if isinstance(value, bytes)]


def verdict(found: Sequence[StreamerStatus]) -> list[str]:
    """What must be seen to of all streamers, in sentences; empty: all is well."""
    if not found:
        return ["no streamer tells of itself: none runs (gapless stream), or the exchange has not answered it yet"]
    told = [
        f"{status.shard}: {problem}" if len(found) > 1 else problem for status in found for problem in problems(status)
    ]
    return told + missing_shards([status.shard for status in found])


def missing_shards(shards: Sequence[str]) -> list[str]:
    """Which of the shards that the living ones name are not at work."""
    numbers: dict[int, set[int]] = {}
    for shard in shards:
        number, _, of = shard.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise ValidationError(f"{KEY_PREFIX}{shard}: this is no shard, such as 0/4")
        numbers.setdefault(int(of), set()).add(int(number))
    return [
        f"shard {number}/{of} is not at work: its symbols are not streamed"
        for of, there in sorted(numbers.items())
        for number in sorted(set(range(of)) - there)
    ]


def show(found: Sequence[StreamerStatus]) -> None:
    """Tables on the terminal, what is worst first."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    for status in found:
        console.print(f"[bold]streamer {status.shard}[/bold]: {escape(_headline(status))}", highlight=False)
        if status.streams:
            console.print(_streams(status))
        if status.books:
            console.print(_books(status))
        if status.lanes:
            console.print(_lanes(status))
        for line in _ends(status):
            console.print(escape(line), highlight=False)
    for problem in verdict(found):
        console.print(f"[red]problem[/red]: {escape(problem)}", highlight=False)


def _headline(status: StreamerStatus) -> str:
    up = _lasting(max(0, status.at_ms - status.started_ms) // 1000)
    age_s = max(0.0, time.time() - status.at_ms / 1000)
    rate = sum(stream.rate_per_s for stream in status.streams)
    return (
        f"{status.state} on {status.host} (pid {status.pid}) for {up}, "
        f"{status.symbols} instruments, {len(status.streams)} streams, {rate:,.0f} messages/s by {status.transport}; "
        f"as of {age_s:.0f} s ago"
    )


def worst_first(streams: Sequence[StreamStatus]) -> list[StreamStatus]:
    """What a person must look at first: silent ones, what was lost, open holes, refused payloads; then the busiest."""
    return sorted(streams, key=lambda s: (not s.silent, -s.lost, -s.holes_open, -s.refused, -s.rate_per_s, s.symbol))


def _streams(status: StreamerStatus) -> Table:
    table = _table("stream", "symbol", "per s", "late ms", "last id", "age s", "holes", "filled", "lost")
    for each in worst_first(status.streams)[:_ROWS]:
        table.add_row(
            f"{each.kind} {each.interval}".strip() + (" (silent)" if each.silent else ""),
            each.symbol,
            f"{each.rate_per_s:.1f}",
            _number(each.exchange_ms),
            each.last_id,
            _number(each.last_event_age_s),
            *map(str, (each.holes_open, each.filled, each.lost)),
            style="red" if each.silent or each.lost else None,
        )
    return _cut(table, len(status.streams))


def _books(status: StreamerStatus) -> Table:
    table = _table("book", "state", "for s", "last id", "bids", "asks", "resyncs", "crossed", "differences")
    books = sorted(status.books, key=lambda b: (b.state == "live", -b.differences, -b.crossed, -b.resyncs, b.symbol))
    for book in books[:_ROWS]:
        cells = (book.last_id, book.bids, book.asks, book.resyncs, book.crossed, book.differences)
        style = None if book.state == "live" else "red"
        table.add_row(book.symbol, book.state, f"{book.for_s:.0f}", *map(str, cells), style=style)
    return _cut(table, len(status.books))


def _lanes(status: StreamerStatus) -> Table:
    table = _table("connection", "state", "streams", "age s", "per s", "silent s", "reconnects")
    for lane in sorted(status.lanes, key=lambda each: (each.state == "open", each.market, each.route)):
        table.add_row(
            lane.market + lane.route,
            lane.state,
            str(lane.streams),
            f"{lane.age_s:.0f}",
            f"{lane.messages_per_s:.1f}",
            f"{lane.silent_s:.1f}",
            str(lane.reconnects),
            style=None if lane.state in ("open", "retiring") else "red",
        )
    return table


def _ends(status: StreamerStatus) -> list[str]:
    lines = []
    if outlet := status.outlet:
        times = "" if outlet.p50_ms is None else f", p50 {outlet.p50_ms:g} ms, p99 {outlet.p99_ms or 0:g} ms"
        shed = ", ".join(f"{kind} {count}" for kind, count in outlet.shed.items() if count) or "nothing"
        lines.append(
            f"Redis: {outlet.acknowledged:,} acknowledged, {outlet.waiting:,} waiting{times}; shed: {shed};"
            f" spool {outlet.spool_bytes / 2**20:.1f} MB"
        )
    if bars := status.bars:
        lag = "" if bars.lag_s is None else f", {bars.lag_s:.1f} s after their close"
        lines.append(f"MySQL: {bars.stored:,} closed bars stored{lag}; waiting {bars.waiting}, on disk {bars.spooled}")
    for market in status.markets:
        used = "" if market.used is None else f", weight {market.used} of {market.usable} used"
        offset = market.offset_ms
        where = "ahead of" if (offset or 0) >= 0 else "behind"
        clock = "not read yet" if offset is None else f"{abs(offset):.0f} ms {where} the exchange's"
        lines.append(f"{market.market}: clock {clock}{used}")
    filled, lost = sum(each.filled for each in status.streams), sum(each.lost for each in status.streams)
    holes = sum(each.holes_open for each in status.streams)
    if filled or lost or holes:
        lines.append(f"trades that were missing: {filled:,} brought by REST, {lost:,} lost; {holes:,} holes open")
    if status.gaps:
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(status.gaps.items()))
        lines.append(f"events told in md.gaps: {told}")
    lines.append(f"event loop: at most {status.loop_lag_ms:.1f} ms late")
    return lines


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table()
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number > 1 else "left", no_wrap=number < 2, overflow="fold")
    return table


def _cut(table: Table, total: int) -> Table:
    if total > _ROWS:
        table.caption = f"the first {_ROWS} of {total}; --json has all"
    return table


def _lasting(seconds: int) -> str:
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
