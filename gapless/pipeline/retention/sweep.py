"""A sweep of all zones: what has outlived its days is listed, and removed when that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.receipts import Failure
from gapless.domain.retention import RetentionRules, overdue
from gapless.domain.window import DAY_MS, HOUR_MS, iso
from gapless.errors import GaplessError
from gapless.pipeline.retention.rules import hot_since, load_rules
from gapless.pipeline.retention.zones import Outlived, Zone, zones
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.exports import RESTORED, newest_export
from gapless.storage.mysql.leaving import find_twins
from gapless.storage.mysql.occupied import occupied_months
from gapless.storage.mysql.partitions import Month
from gapless.storage.spool import hour_folder, spooled_hours, streams_root

T = TypeVar("T")

LISTED = 1_000
"""Items that a report names; the rest is counted."""


class Item(msgspec.Struct, frozen=True):
    """Something that has outlived its days.

    Attributes:
        where: its URI or path. since: from when its days are counted. days: how many it is there.
        goes: whether it goes, or went; else it is held back by unfinished work. why: the reason, either way.
    """

    zone: str
    where: str
    since: str
    days: int
    bytes: int
    goes: bool
    why: str


class ZoneTotal(msgspec.Struct, frozen=True):
    """What goes, or went, of a zone.

    Attributes:
        days: how long it is kept; None for ever. objects, bytes: what goes. oldest: from when the oldest of it is.
        held: as old, but held back by unfinished work.
    """

    zone: str
    days: int | None
    objects: int = 0
    bytes: int = 0
    oldest: str | None = None
    held: int = 0


class MonthToGo(msgspec.Struct, frozen=True):
    """A month in MySQL that is no longer hot: the next export takes it, and retention never does.

    Attributes:
        state: of its last export, empty when there was none. hold_until: it was brought back until then.
    """

    table: str
    month: str
    state: str
    hold_until: str | None = None


class SpooledHour(msgspec.Struct, frozen=True):
    """An hour of live Streams that waits on disk longer than it may. It is not deleted."""

    kind: str
    exchange: str
    hour: str
    bytes: int
    hours_waiting: int


class RetentionReport(msgspec.Struct, frozen=True):
    """What a sweep found.

    Attributes:
        at: the moment that ages were counted to. applied: whether what goes was removed, or only listed.
        objects, bytes: of all zones together.
        items: the first thousand, held ones among them. unlisted: how many more.
        exports: months that the next export takes. overdue: spooled hours that nobody published.
        errors: zones that could not be swept; the others were.
    """

    at: str
    applied: bool
    objects: int
    bytes: int
    zones: tuple[ZoneTotal, ...]
    items: tuple[Item, ...]
    unlisted: int
    exports: tuple[MonthToGo, ...]
    overdue: tuple[SpooledHour, ...]
    seconds: float
    errors: tuple[Failure, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing failed and nothing waits too long."""
        return not self.errors and not self.overdue


def sweep(
    rt: Runtime, now_ms: int, *, apply: bool = False, on_item: Callable[[Item], None] | None = None
) -> RetentionReport:
    """List what has outlived its days by the rules of `GAPLESS_RETENTION_FILE`, and remove it when `apply`.

    A zone that fails stops no other. Killed anywhere, the rest goes the next time.

    Args:
        now_ms: compared with the days in names, and with the stores' own times of writing.
        on_item: told of each item, removed already when it goes.

    Raises:
        ConfigError: the file of rules is wrong; nothing was done.
    """
    began = time.monotonic()
    rules = load_rules(rt.settings)
    tally = _Tally(on_item, now_ms)
    for zone in zones(rules):
        tally.zone(zone, rt, apply=apply)
    exports = tally.part("mysql", lambda: tuple(_months_to_go(rt, now_ms)))
    waiting = tally.part("spool", lambda: tuple(_overdue(rt, rules, now_ms)))
    return RetentionReport(
        at=iso(now_ms),
        applied=apply,
        objects=sum(each.objects for each in tally.totals),
        bytes=sum(each.bytes for each in tally.totals),
        zones=tuple(tally.totals),
        items=tuple(tally.items),
        unlisted=tally.unlisted,
        exports=exports,
        overdue=waiting,
        seconds=round(time.monotonic() - began, 3),
        errors=tuple(tally.errors),
    )


class _Tally:
    """Counts and first names of what a sweep meets."""

    def __init__(self, on_item: Callable[[Item], None] | None, now_ms: int) -> None:
        self._on_item, self._now_ms = on_item, now_ms
        self.totals: list[ZoneTotal] = []
        self.items: list[Item] = []
        self.unlisted = 0
        self.errors: list[Failure] = []

    def zone(self, zone: Zone, rt: Runtime, *, apply: bool) -> None:
        objects = held = size = 0
        oldest_ms: int | None = None
        try:
            for found in zone.look(rt, self._now_ms, zone.days, apply) if zone.days is not None else ():
                self._enter(zone.name, found)
                if not found.goes:
                    held += 1
                    continue
                objects, size = objects + 1, size + found.bytes
                oldest_ms = found.since_ms if oldest_ms is None else min(oldest_ms, found.since_ms)
        except (GaplessError, OSError) as error:
            self._fail(zone.name, error)
        oldest = None if oldest_ms is None else iso(oldest_ms)
        self.totals.append(ZoneTotal(zone.name, zone.days, objects, size, oldest, held))

    def part(self, name: str, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        try:
            return read()
        except (GaplessError, OSError) as error:
            self._fail(name, error)
            return ()

    def _enter(self, zone: str, found: Outlived) -> None:
        days = (self._now_ms - found.since_ms) // DAY_MS
        item = Item(zone, found.where, iso(found.since_ms), days, found.bytes, found.goes, found.why)
        if len(self.items) < LISTED:
            self.items.append(item)
        else:
            self.unlisted += 1
        if self._on_item is not None:
            self._on_item(item)

    def _fail(self, name: str, error: GaplessError | OSError) -> None:
        kind = error.kind if isinstance(error, GaplessError) else "storage"
        self.errors.append(Failure("", "", "", kind, f"{name}: {error}; run it again once that is put right"))


def _months_to_go(rt: Runtime, now_ms: int) -> Iterator[MonthToGo]:
    """Months with rows, and those that a killed export has taken out of their table already."""
    away = find_twins(rt.db)
    for dataset in Dataset:
        border = Month.of_ms(hot_since(rt.settings, dataset, now_ms))
        leaving = [twin.month for twin in away if twin.dataset is dataset and twin.month < border]
        for month in sorted({*leaving, *occupied_months(rt.db, str(dataset), border)}):
            last = newest_export(rt.db, dataset, month)
            hold_ms = last.hold_until_ms if last and last.state == RESTORED else None
            hold = None if hold_ms is None or hold_ms <= now_ms else iso(hold_ms)
            yield MonthToGo(str(dataset), str(month), last.state if last else "", hold)


def _overdue(rt: Runtime, rules: RetentionRules, now_ms: int) -> Iterator[SpooledHour]:
    """Of an hour that was published and got late entries, the waiting begins when these came."""
    root = streams_root(rt.settings.spool_dir)
    for hour in spooled_hours(root):
        folder = hour_folder(root, hour.kind, hour.exchange, hour.hour_ms)
        try:
            came_ms = min((int(path.stat().st_mtime * 1000) for path in folder.iterdir()), default=now_ms)
        except FileNotFoundError:  # closed or published while we looked
            continue
        since_ms = max(hour.hour_ms, came_ms - HOUR_MS)
        if overdue(since_ms, now_ms, rules.spool.hours):
            waiting = (now_ms - since_ms - HOUR_MS) // HOUR_MS
            yield SpooledHour(str(hour.kind), hour.exchange, iso(hour.hour_ms), hour.bytes, waiting)
