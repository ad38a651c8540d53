"""How a backfill gets on: two live bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

PLAIN_EVERY_S = 5.0
"""At most one plain line in so many seconds, so that a log of a night stays readable."""

_MEGABYTE = 1_000_000


class BackfillProgress:
    """The engine's watcher for people, on standard error; a context manager.

    On a terminal: a bar of archive objects and one of rows, each with rate and time left, and below them what is being
    waited for. Elsewhere the same in plain lines, at most one every `PLAIN_EVERY_S`.
    """

    def __init__(self, stream: TextIO, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream, highlight=False)
        self._monotonic = monotonic
        self._started = self._spoke = monotonic()
        self._objects_total = self._rows_total = self._objects = self._rows = self._bytes = 0
        self._waiting: str | None = None
        self._live: Progress | None = None
        if self._console.is_terminal:
            self._live = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(),
                _Count(),
                _Rate(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._object_task = self._live.add_task("objects", total=None, unit="objects", note="")
            self._row_task = self._live.add_task("rows", total=None, unit="rows", note="")

    def __enter__(self) -> BackfillProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._objects or self._rows:
            self._console.print(self._line(), markup=False, soft_wrap=True)

    def plan(self, objects: int, rows: int) -> None:
        """How many archive objects and rows are expected; a later call corrects an earlier one."""
        self._objects_total, self._rows_total = objects, rows
        if self._live:
            self._live.update(self._object_task, total=objects)
            self._live.update(self._row_task, total=rows)
        else:
            self.say(f"to do: {objects:,} objects, about {rows:,} rows")

    def object_done(self, name: str, bytes: int) -> None:
        """An object was taken."""
        self._objects += 1
        self._bytes += bytes
        if self._live:
            self._objects_total = max(self._objects_total, self._objects)
            note = f"{self._bytes / _MEGABYTE:,.0f} MB  {name}"
            self._live.update(self._object_task, completed=self._objects, total=self._objects_total, note=note)
        else:
            self._speak()

    def rows_done(self, rows: int) -> None:
        """So many more rows are at rest."""
        self._rows += rows
        if self._live:
            self._rows_total = max(self._rows_total, self._rows)
            self._live.update(self._row_task, completed=self._rows, total=self._rows_total)
        else:
            self._speak()

    def waiting(self, what: str | None) -> None:
        """What is being waited for; None: nothing any more."""
        changed, self._waiting = what != self._waiting, what
        if self._live:
            self._live.update(self._row_task, note=f"waiting: {what}" if what else "")
        elif what and changed:
            self.say(f"waiting: {what}")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def _speak(self) -> None:
        now = self._monotonic()
        if now - self._spoke >= PLAIN_EVERY_S:
            self._spoke = now
            self.say(self._line())

    def _line(self) -> str:
        spent = max(self._monotonic() - self._started, 0.001)
        parts = [
            f"{self._objects:,} of {max(self._objects, self._objects_total):,} objects"
            f" ({self._bytes / _MEGABYTE:,.1f} MB, {self._bytes / _MEGABYTE / spent:,.1f} MB/s)",
            f"{self._rows:,} of about {max(self._rows, self._rows_total):,} rows ({self._rows / spent:,.0f}/s)",
        ]
        left = self._rows_total - self._rows
        if self._rows and left > 0:
            parts.append(f"about {_duration(left * spent / self._rows)} left")
        if self._waiting:
            parts.append(f"waiting: {self._waiting}")
        return ", ".join(parts)


class _Count(ProgressColumn):
    """Done of all, with thousands apart."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{int(task.total):,}"
        return Text(f"{int(task.completed):,}/{total}", style="progress.download")


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {task.fields['unit']}/s", style="progress.data.speed")


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes == 0:
        return f"{max(1, int(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
