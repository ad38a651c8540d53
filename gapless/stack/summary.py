"""What `make run` shows at its end: plain values in, a table that a newcomer understands out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from gapless.domain.window import from_ms


class Series(msgspec.Struct, frozen=True):
    """What is stored of one market and interval.

    Attributes:
        newest_ms: open time of the newest bar, None when there is none.
        complete: stored share (0 to 1) of the bars that completed in the last 24 whole hours.
        lag_s: age of the oldest closed bar not yet stored, the largest over the instruments; 0 when none is missing.
    """

    market: str
    interval: str
    instruments: int
    rows: int
    newest_ms: int | None
    complete: float
    lag_s: float


class Contents(msgspec.Struct, frozen=True):
    """What the stores hold after a run.

    Attributes:
        origin: where the data comes from by the books, `binance` or `replica:<seed>`; what is not real is called so.
    """

    origin: str | None
    series: tuple[Series, ...]
    rows_quarantined: int
    lake_files: int
    lake_bytes: int


class Times(msgspec.Struct, frozen=True):
    """Seconds of the parts of a `make run`; downloads are counted apart, because they depend on the line."""

    download: float
    setup: float
    start: float
    pipeline: float

    @property
    def without_download(self) -> float:
        return self.setup + self.start + self.pipeline


class Access(msgspec.Struct, frozen=True):
    """Where to click. `password` is None where it must not be shown (no terminal); then the file is named."""

    url: str
    login: str
    password: str | None
    password_file: str


def print_summary(console: Console, *, contents: Contents, lake: str, access: Access, times: Times) -> None:
    """Print the table, where to click, how long it took and what to try next."""
    generated = (contents.origin or "").startswith("replica:")
    console.print(_table(contents.series, contents.origin, generated=generated))
    console.print(
        f"quarantined rows: {contents.rows_quarantined:,}   "
        f"lake: {contents.lake_files:,} files, {contents.lake_bytes / 2**20:,.1f} MB in {lake}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    password = access.password or f"(in {access.password_file})"
    where = f"Airflow: {access.url}   login: {access.login}   password: {password}"
    console.print(where, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"times: {times.without_download:.0f} s (setup {times.setup:.0f}, start {times.start:.0f},"
        f" pipeline {times.pipeline:.0f}), downloads apart: {times.download:.0f} s",
        markup=False,
        highlight=False,
    )
    console.print("try next:", markup=False)
    for line, what in next_steps(generated=generated):
        console.print(f"  {line:<58} {what}", markup=False, highlight=False, soft_wrap=True)


def next_steps(*, generated: bool) -> Sequence[tuple[str, str]]:
    """Commands to try, each with what it does."""
    steps = [
        (".venv/bin/gapless status", "what runs, where, and the login again"),
        (".venv/bin/gapless stream --status", "the live sidecar: rates, latency, books"),
        (".venv/bin/gapless etl ohlcv --help", "any other window by hand"),
        (".venv/bin/gapless logs scheduler -f", "what Airflow is doing"),
        (".venv/bin/gapless down", "stop; nothing stays behind, the data does"),
    ]
    if generated:
        steps.insert(0, ("make run", "again when the exchange is in reach: real data, kept apart"))
    return steps


def _table(series: Sequence[Series], origin: str | None, *, generated: bool) -> Table:
    title = (
        f"DEMO: generated data ({origin}), not from an exchange" if generated else f"Stored bars ({origin or 'none'})"
    )
    table = Table(title=title, title_justify="left", title_style="bold red" if generated else "bold")
    table.add_column("market")
    table.add_column("interval")
    table.add_column("symbols", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("newest bar (UTC)", no_wrap=True)
    table.add_column("24 h", justify="right", no_wrap=True)
    table.add_column("lag", justify="right")
    for one in series:
        newest = from_ms(one.newest_ms).strftime("%Y-%m-%d %H:%M") if one.newest_ms is not None else "-"
        # Cut, not rounded: 100.0 % means all.
        percent = f"{int(one.complete * 1000) / 10:.1f} %"
        counts = (f"{one.instruments:,}", f"{one.rows:,}")
        table.add_row(one.market, one.interval, *counts, newest, percent, f"{one.lag_s:,.0f} s")
    return table
