"""Half-open UTC windows `[start, end)` in milliseconds, and their algebra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gapless.errors import ConfigError

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch; a naive datetime is read as UTC. Microseconds below 1 ms are cut."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def from_ms(at_ms: int) -> datetime:
    """The aware UTC datetime of `at_ms`, exact."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC, shortest exact form: `2026-11-20T16:00:00Z`."""
    return from_ms(at_ms).isoformat(timespec="auto").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Milliseconds of an ISO 8601 date or time; UTC when no offset is given.

    Raises:
        ConfigError: the text is not ISO 8601.
    """
    try:
        return to_ms(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise ConfigError(
            f"not a time: {text!r}; write ISO 8601 such as 2026-11-20 or 2026-11-20T16:00 (UTC unless it has an offset)"
        ) from None


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open stretch of time `[start_ms, end_ms)`, never empty.

    Raises:
        ConfigError: the end is not after the start.
    """

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ConfigError(f"empty window: end {iso(self.end_ms)} is not after start {iso(self.start_ms)}")

    @classmethod
    def of(cls, start: datetime | str, end: datetime | str) -> Window:
        """From datetimes or ISO 8601 texts, UTC when they carry no offset."""
        bounds = (parse_time(at) if isinstance(at, str) else to_ms(at) for at in (start, end))
        return cls(*bounds)

    @property
    def start(self) -> datetime:
        return from_ms(self.start_ms)

    @property
    def end(self) -> datetime:
        return from_ms(self.end_ms)

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def __str__(self) -> str:
        return f"{iso(self.start_ms)}..{iso(self.end_ms)}"

    def __contains__(self, at_ms: object) -> bool:
        return isinstance(at_ms, int) and self.start_ms <= at_ms < self.end_ms

    def covers(self, other: Window) -> bool:
        """Whether every moment of `other` lies in this window."""
        return self.start_ms <= other.start_ms and other.end_ms <= self.end_ms

    def intersect(self, other: Window) -> Window | None:
        """What both share, or None."""
        start, end = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Window(start, end) if start < end else None

    def subtract(self, others: Iterable[Window]) -> list[Window]:
        """What is left of this window without `others`, in order; touching rests are never joined across a hole."""
        left: list[Window] = []
        at = self.start_ms
        for other in merge(others):
            if other.end_ms <= at or other.start_ms >= self.end_ms:
                continue
            if other.start_ms > at:
                left.append(Window(at, other.start_ms))
            at = max(at, other.end_ms)
        if at < self.end_ms:
            left.append(Window(at, self.end_ms))
        return left

    def split(self, step_ms: int) -> Iterator[Window]:
        """Pieces cut at every multiple of `step_ms` since the epoch (hours, UTC days), in order, without remainder."""
        at = self.start_ms
        while at < self.end_ms:
            end = min(at - at % step_ms + step_ms, self.end_ms)
            yield Window(at, end)
            at = end

    def split_months(self) -> Iterator[Window]:
        """Pieces cut at every first of a month, 00:00 UTC."""
        at = self.start_ms
        while at < self.end_ms:
            end = min(next_month(at), self.end_ms)
            yield Window(at, end)
            at = end


def merge(windows: Iterable[Window]) -> list[Window]:
    """The same moments as disjoint windows in order; windows that touch are joined."""
    joined: list[Window] = []
    for window in sorted(windows):
        if joined and window.start_ms <= joined[-1].end_ms:
            joined[-1] = Window(joined[-1].start_ms, max(joined[-1].end_ms, window.end_ms))
        else:
            joined.append(window)
    return joined


def month_start(at_ms: int) -> int:
    """The first moment of the UTC month that holds `at_ms`."""
    moment = from_ms(at_ms)
    return to_ms(datetime(moment.year, moment.month, 1, tzinfo=UTC))


def next_month(at_ms: int) -> int:
    """The first moment of the UTC month after the one that holds `at_ms`."""
    moment = from_ms(at_ms)
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    return to_ms(datetime(year, month, 1, tzinfo=UTC))


def hot_since_ms(now_ms: int, hot_months: int) -> int:
    """The first moment of the oldest hot month; the current month counts as one."""
    at = month_start(now_ms)
    for _ in range(hot_months - 1):
        at = month_start(at - 1)
    return at
