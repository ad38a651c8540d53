"""Both homes of the budget decide alike, forget in time, and survive killed processes."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot

from gapless.errors import StorageError
from gapless.exchanges.pacing import FileStore, RedisStore, Store, file_store
from gapless.exchanges.pacing.budget import Answer, Charge, decide
from tests.exchanges.pacing.world import MINUTE, World


def _as_asked(charges: list[Charge]) -> list[Charge]:
    """As `charges_for` makes them: of a pool one window, or two that follow each other, the earlier first."""
    first = {charge.pool: charge.window for charge in sorted(charges, key=lambda c: c.window, reverse=True)}
    return sorted((c for c in charges if c.window <= first[c.pool] + 1), key=lambda c: (c.pool, c.window))


CHARGES = st.lists(
    st.lists(
        st.builds(
            Charge,
            pool=st.sampled_from(["W", "R"]),
            window=st.integers(5, 9),
            cost=st.integers(0, 40),
            usable=st.sampled_from([30, 50]),
            at_least=st.integers(0, 60),
            keep_ms=st.just(2 * MINUTE),
        ),
        max_size=3,
        unique_by=lambda c: (c.pool, c.window),
    ).map(_as_asked),
    max_size=8,
)


@pytest.fixture(params=["file", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = (
        FileStore(tmp_path / "pace.json")
        if request.param == "file"
        else RedisStore(request.getfixturevalue("redis_url"), "host:1:um")
    )
    yield made
    await made.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=CHARGES)
def test_file_and_redis_decide_as_the_pure_core_does(asked: list[list[Charge]], tmp_path: Path, redis_url: str) -> None:
    expected: list[Answer] = []
    spent: dict[str, dict[int, int]] = {}
    for charges in asked:
        spent, answer = decide(spent, None, charges)
        expected.append(answer)

    async def ask_both() -> None:
        scope = uuid.uuid4().hex
        for store in (FileStore(tmp_path / f"{scope}.json"), RedisStore(redis_url, scope)):
            assert [await store.ask(charges) for charges in asked] == expected
            await store.close()

    asyncio.run(ask_both())


async def test_a_halt_is_seen_with_what_is_left_of_it(store: Store) -> None:
    made = await store.halt("limited", 5_000, 1_000_000, "too many")
    assert (made.kind, made.left_ms, made.until_ms) == ("limited", 5_000, 1_005_000)
    answer = await store.ask([])
    assert answer.halt
    assert 0 < answer.halt.left_ms <= 5_000
    assert answer.halt.reason == "too many"


async def test_the_longer_halt_wins(store: Store) -> None:
    await store.halt("banned", 90_000, 0, "ban")
    shorter = await store.halt("limited", 1_000, 0, "pause")
    assert shorter.kind == "banned"
    longer = await store.halt("banned", 200_000, 0, "longer")
    assert longer.left_ms == 200_000


async def test_an_undated_ban_lasts_two_minutes_and_its_echoes_do_not_lengthen_it(store: Store) -> None:
    first = await store.halt("banned", None, 0, "418")
    assert first.left_ms == 120_000
    for _ in range(3):
        assert (await store.halt("banned", None, 0, "418")).left_ms <= 120_000


async def test_a_repeated_undated_ban_lasts_twice_as_long(store: Store) -> None:
    await store.halt("banned", 1, 0, "a dated one, over at once")
    async with asyncio.timeout(5):
        while (await store.ask([])).halt:  # noqa: ASYNC110 - Redis tells nobody that a key expired
            await asyncio.sleep(0.002)
    assert (await store.halt("banned", None, 0, "418")).left_ms == 240_000


async def test_limits_read_by_one_process_are_known_to_the_next(store: Store) -> None:
    assert await store.limits() == {}
    await store.remember_limits({"REQUEST_WEIGHT": 1200})
    assert await store.limits() == {"REQUEST_WEIGHT": 1200}


async def test_everything_in_redis_expires_and_shares_one_slot(redis_url: str) -> None:
    store = RedisStore(redis_url, "fapi.binance.com:443:um")
    await store.ask([Charge("W", 7, 1, 10, 0, 2 * MINUTE), Charge("R", 7, 1, 10, 5, 10 * MINUTE)])
    await store.halt("banned", None, 0, "418")
    await store.remember_limits({"W": 10})
    await store.close()
    with Redis.from_url(redis_url) as redis:
        keys = redis.keys()
        assert len(keys) == 5
        assert all(redis.pttl(key) > 0 for key in keys)
        assert len({key_slot(key) for key in keys}) == 1
        assert all(key.startswith(b"{gapless:pace:fapi.binance.com:443:um}:") for key in keys)


def _spend(where: str, location: str, count: int) -> int:
    async def run() -> int:
        store = FileStore(Path(location)) if where == "file" else RedisStore(location, "s")
        granted = 0
        for _ in range(count):
            granted += (await store.ask([Charge("W", 7, 3, 100, 0, 2 * MINUTE)])).granted
        await store.close()
        return granted

    return asyncio.run(run())


@pytest.mark.parametrize("where", ["file", "redis"])
def test_two_processes_share_one_budget(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    location = str(tmp_path / "pace.json") if where == "file" else request.getfixturevalue("redis_url")
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        granted = processes.starmap(_spend, [(where, location, 60)] * 2)
    assert sum(granted) == 33


def test_a_killed_process_leaves_the_file_usable(tmp_path: Path) -> None:
    path = tmp_path / "pace.json"
    code = (
        "import sys, time; from pathlib import Path; from gapless.exchanges.pacing import FileStore\n"
        "hold = lambda state: (print('held', flush=True), time.sleep(600))\n"
        "FileStore(Path(sys.argv[1]))._locked(hold, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGKILL)
    assert asyncio.run(FileStore(path).ask([Charge("W", 7, 1, 10, 0, MINUTE)])).granted


async def test_a_lock_that_is_never_given_back_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "_LOCK_WAIT_S", 0.05)
    path = tmp_path / "pace.json"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="stayed locked"):
            await FileStore(path).ask([])


@pytest.mark.parametrize("text", ["\n", "{", '{"spent": 5}'])
async def test_an_unreadable_file_starts_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pace.json"
    path.write_text(text)
    assert (await FileStore(path).ask([Charge("W", 7, 1, 10, 0, MINUTE)])).granted
    assert "unreadable" in caplog.text


async def test_a_ban_outlives_a_reboot_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.file(tmp_path).halt("banned", 3_600_000, world.now_ms(), "418")
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(file_store, "_BOOT_ID", boot)
    world.pass_s(600)
    rebooted = FileStore(tmp_path / "pace.json", monotonic=lambda: 3.0, wall=world.wall)
    halt = (await rebooted.ask([])).halt
    assert halt
    assert halt.left_ms == 3_000_000
    world.pass_s(3_001)
    assert (await rebooted.ask([])).granted
