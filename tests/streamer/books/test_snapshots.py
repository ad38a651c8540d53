"""The order of snapshots, their pauses, and what happens when the exchange says no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

from streamer.books.settings import BookSettings
from streamer.books.snapshots import Need, SnapshotDesk
from tests.fixtures.replica import replica_in_loop
from tests.streamer.books.hurry import Fast, Owner, rest_in

FAST = Fast(60.0)
VOLUMES = {"BTCUSDT": 9.0, "ETHUSDT": 8.0, "SOLUSDT": 7.0, "XRPUSDT": 6.0}
ONE = BookSettings(concurrency=1)


@asynccontextmanager
async def desk_at_work(
    folder: Path, owner: Owner, settings: BookSettings = ONE, *, limit: int = 2400, max_wait_s: float = 3600.0
) -> AsyncIterator[tuple[SnapshotDesk, asyncio.Task[None]]]:
    """A desk before a replica; the caller asks first, then starts the task by its first wait."""
    options = ("--generate", "7", "--speed", str(FAST.factor), "--start", "2026-11-15T12:30:01")
    async with (
        replica_in_loop(*options, "--um-weight", str(limit)) as (ready, _),
        rest_in(FAST, ready.um_rest, folder, limit=limit, share=0.8, max_wait_s=max_wait_s) as rest,
    ):
        desk = SnapshotDesk(rest, owner, settings, monotonic=FAST.monotonic, jitter=lambda: 1.0, within=FAST.within)
        desk.rank(VOLUMES)
        task = asyncio.create_task(desk.run())
        try:
            yield desk, task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _all(owner: Owner) -> None:
    await asyncio.wait_for(owner.done.wait(), 20)


async def test_books_before_depth_before_checks_and_liquid_before_illiquid(tmp_path: Path) -> None:
    owner = Owner(FAST, wanted=8)
    async with desk_at_work(tmp_path, owner) as (desk, _):
        desk.check("XRPUSDT")
        desk.deepen("SOLUSDT")
        for symbol in ("ADAUSDT", "ETHUSDT", "BTCUSDT"):
            desk.build(symbol)
        assert desk.waiting() == {Need.BUILD: 3, Need.DEEPEN: 1, Need.CHECK: 1}
        await _all(owner)
        assert desk.taken == 8
    assert [(symbol, levels) for _, symbol, levels in owner.came] == [
        ("BTCUSDT", 50), ("ETHUSDT", 50), ("ADAUSDT", 50),
        ("BTCUSDT", 1000), ("ETHUSDT", 1000), ("SOLUSDT", 1000), ("ADAUSDT", 1000),
        ("XRPUSDT", 100),
    ]  # fmt: skip
    assert owner.opened == [symbol for _, symbol, _ in owner.came]


async def test_a_snapshot_that_came_too_old_is_asked_for_again_after_growing_pauses(tmp_path: Path) -> None:
    owner = Owner(FAST, wanted=4)
    settings = BookSettings(concurrency=2, depth=50, first_pause_s=4.0, longest_pause_s=60.0)
    async with desk_at_work(tmp_path, owner, settings) as (desk, _):
        owner.then = desk.build
        desk.build("BTCUSDT")
        await _all(owner)
    moments = [at for at, _, _ in owner.came]
    pauses = [after - before for before, after in pairwise(moments)]
    assert all(pause >= least for pause, least in zip(pauses, (4.0, 8.0, 16.0), strict=True)), pauses


async def test_what_is_no_longer_wanted_is_not_asked_for_nor_handed_on(tmp_path: Path) -> None:
    owner = Owner(FAST, wanted=1)
    async with desk_at_work(tmp_path, owner) as (desk, _):
        desk.build("ETHUSDT")
        desk.build("BTCUSDT")
        await asyncio.wait_for(owner.busy.wait(), 20)
        assert owner.opened == ["BTCUSDT"]
        desk.drop("BTCUSDT")
        await _all(owner)
    assert owner.came[0][1] == "ETHUSDT"


async def test_a_spent_budget_halts_the_desk_which_goes_on_by_itself_and_never_hammers(tmp_path: Path) -> None:
    """8 of 10 a minute are granted, the time and 3 snapshots: the rest comes a minute later."""
    names = [f"{name}USDT" for name in ("BTC", "ETH", "BNB", "SOL", "XRP", "DOGE")]
    owner = Owner(FAST, wanted=6)
    settings = BookSettings(concurrency=1, depth=50)
    async with desk_at_work(tmp_path, owner, settings, limit=10, max_wait_s=0.0) as (desk, _):
        for name in names:
            desk.build(name)
        await _all(owner)
        assert 1 <= desk.limited <= 4
        assert (desk.taken, desk.failures) == (6, 0)
    assert len(owner.failures) == desk.limited
    assert "the request budget is spent" in owner.failures[0]
    assert len({symbol for _, symbol, _ in owner.came}) == 6


async def test_an_unknown_symbol_holds_up_nobody(tmp_path: Path) -> None:
    owner = Owner(FAST, wanted=1)
    settings = BookSettings(concurrency=1, depth=50)
    async with desk_at_work(tmp_path, owner, settings) as (desk, _):
        desk.rank({"NOSUCHUSDT": 100.0})
        desk.build("NOSUCHUSDT")
        desk.build("BTCUSDT")
        await _all(owner)
        assert (desk.failures, desk.limited, desk.halted) == (1, 0, "")
    assert "does not know this symbol" in owner.failures[0]


async def test_a_check_that_fails_is_let_go(tmp_path: Path) -> None:
    owner = Owner(FAST, wanted=1)
    async with desk_at_work(tmp_path, owner, BookSettings(depth=50)) as (desk, _):
        desk.check("NOSUCHUSDT")
        await asyncio.wait_for(owner.told.wait(), 20)
        assert desk.waiting()[Need.CHECK] == 0
