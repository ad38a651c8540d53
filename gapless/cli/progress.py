"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Tells a person what is being done; a context manager. Silent about nothing that takes long.

    Args:
        counted: what `count` counts.
    """

    def __init__(self, stream: TextIO, counted: str = "batches") -> None:
        self._counted = counted
        console = Console(file=stream, highlight=False)
        self._console = console
        columns = (
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=None) if self._bar else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, what: str) -> None:
        """The work at hand."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=what)
        else:
            self.say(what)

    def count(self, done: int, total: int) -> None:
        """How many of how many pieces are done."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif total > 1:
            self.say(f"{done:,} of {total:,} {self._counted} done")

    def say(self, line: str) -> None:
        """A line that stays, such as what is being waited for and until when."""
        self._console.print(line, markup=False, soft_wrap=True)
