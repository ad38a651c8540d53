"""The gate in made-up time: it waits for the exchange's minutes, for bans, and not for ever."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from gapless.errors import Banned, RateLimited, RegionRefused
from gapless.exchanges.pacing import Pacer, RedisStore, SharedStore, open_pacer, scope_of
from gapless.exchanges.pacing.budget import Pool
from tests.exchanges.pacing.world import MINUTE, NOON, World
from tests.fixtures.redis import OwnRedis


async def test_a_spent_budget_waits_for_the_turn_of_the_exchanges_minute(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 30_000)
    pacer = world.pacer(world.file(tmp_path), limit=100, share=0.8)
    await pacer.acquire(80)
    assert world.slept == []
    await pacer.acquire(1)
    assert NOON + MINUTE <= world.now_ms() < NOON + MINUTE + 2_000
    assert [until for _, until in world.told] == [NOON + MINUTE]
    assert "80 of the exchange's 100" in world.told[0][0]


@pytest.mark.parametrize("ahead_s", [-300.0, 300.0])
async def test_the_hosts_wall_clock_does_not_matter(tmp_path: Path, ahead_s: float) -> None:
    world = World(exchange_ms=NOON + 30_000, host_ahead_s=ahead_s)
    pacer = world.pacer(world.file(tmp_path))
    await pacer.acquire(100)
    await pacer.acquire(1)
    assert 30 <= sum(world.slept) < 32
    await pacer.banned(retry_after_s=None, until_ms=world.now_ms() + 50_000, date_ms=None)
    before = world.elapsed_s
    await pacer.acquire(1)
    assert 50 <= world.elapsed_s - before < 53


async def test_many_tasks_never_spend_more_than_the_budget_in_a_minute(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON)
    pacer = world.pacer(world.file(tmp_path), limit=50)
    sent: list[int] = []

    async def one() -> None:
        await pacer.acquire(3)
        sent.append(world.now_ms() // MINUTE)

    await asyncio.gather(*(one() for _ in range(60)))
    counts = [sent.count(minute) for minute in sorted(set(sent))]
    assert counts == [16, 16, 16, 12]


async def test_a_wait_beyond_ones_patience_is_refused_at_once_with_the_moment(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 15_000)
    pacer = world.pacer(world.file(tmp_path), max_wait_s=10)
    await pacer.acquire(100)
    with pytest.raises(
        RateLimited, match=r"binance um at test: .*spent.* until 2026-09-21T14:15:00Z, in 45 s"
    ) as refused:
        await pacer.acquire(1)
    assert type(refused.value) is RateLimited
    assert refused.value.retry_after_s == pytest.approx(45)
    assert world.slept == []


async def test_a_ban_stops_everyone_until_it_ends(tmp_path: Path) -> None:
    world = World()
    first, second = world.pacer(world.file(tmp_path)), world.pacer(world.file(tmp_path), max_wait_s=5)
    end = world.now_ms() + 90_000
    await first.banned(retry_after_s=None, until_ms=end, date_ms=None)
    with pytest.raises(Banned, match="418") as refused:
        await second.acquire(1)
    assert refused.value.retry_after_s == pytest.approx(90)
    await first.acquire(1)
    assert end <= world.now_ms() < end + 2_500


async def test_a_ban_met_by_another_process_is_seen_while_waiting(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 30_000)
    pacer, other = world.pacer(world.file(tmp_path)), world.pacer(world.file(tmp_path))
    await pacer.acquire(100)
    waiting = asyncio.create_task(pacer.acquire(1))
    await world.asleep.wait()
    await other.banned(retry_after_s=200, until_ms=None, date_ms=None)
    banned_at = world.now_ms()
    await waiting
    assert world.now_ms() >= banned_at + 200_000


@pytest.mark.parametrize(
    ("retry_after_s", "until_after_ms", "date_known", "expected_ms"),
    [
        (7, 90_000, True, 7_000),
        (None, 90_000, False, 90_000),
        (None, None, False, 120_000),
        (None, -5_000, False, 120_000),
        (None, 30 * 86_400_000, False, 120_000),
    ],
)
async def test_the_end_of_a_ban_is_the_header_then_the_text_then_a_guess(
    tmp_path: Path, retry_after_s: float | None, until_after_ms: int | None, date_known: bool, expected_ms: int
) -> None:
    world = World()
    until = None if until_after_ms is None else world.now_ms() + until_after_ms
    halt = await world.pacer(world.file(tmp_path)).banned(retry_after_s=retry_after_s, until_ms=until, date_ms=None)
    assert halt.left_ms == expected_ms
    assert halt.until_ms == world.now_ms() + expected_ms


async def test_before_the_clock_is_known_the_answers_date_dates_the_ban(tmp_path: Path) -> None:
    world = World(known=False)
    pacer = world.pacer(world.file(tmp_path))
    halt = await pacer.banned(retry_after_s=None, until_ms=world.now_ms() + 60_000, date_ms=world.now_ms() - 500)
    assert halt.left_ms == 60_500


async def test_too_many_requests_without_a_header_waits_for_the_next_minute(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 40_000)
    pacer = world.pacer(world.file(tmp_path))
    assert (await pacer.limited(retry_after_s=None)).left_ms == 20_500
    await pacer.acquire(1)
    assert NOON + MINUTE <= world.now_ms() < NOON + MINUTE + 3_000


async def test_too_many_requests_with_a_header_waits_as_told(tmp_path: Path) -> None:
    world = World()
    assert (await world.pacer(world.file(tmp_path)).limited(retry_after_s=9)).left_ms == 9_500


async def test_a_firewalls_refusal_is_minutes(tmp_path: Path) -> None:
    world = World()
    pacer = world.pacer(world.file(tmp_path), max_wait_s=60)
    await pacer.firewalled()
    with pytest.raises(RegionRefused, match="403"):
        await pacer.acquire(1)
    await pacer.acquire(1, max_wait_s=900)
    assert 300 <= sum(world.slept) < 303


async def test_the_exchanges_count_overrules_for_every_process(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 10_000)
    pacer, other = world.pacer(world.file(tmp_path)), world.pacer(world.file(tmp_path), max_wait_s=1)
    await pacer.acquire(1)
    pacer.observe(99, world.monotonic())
    await pacer.acquire(1)
    assert world.slept == []
    with pytest.raises(RateLimited):
        await other.acquire(1)


async def test_what_was_observed_last_is_handed_over_on_closing(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 10_000)
    pacer, other = world.pacer(world.file(tmp_path)), world.pacer(world.file(tmp_path), max_wait_s=1)
    pacer.observe(100, world.monotonic())
    await pacer.close()
    with pytest.raises(RateLimited):
        await other.acquire(1)


async def test_an_answer_that_straddles_two_minutes_counts_for_neither(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 59_900)
    pacer = world.pacer(world.file(tmp_path), max_wait_s=1)
    sent = world.monotonic()
    world.pass_s(0.2)
    pacer.observe(100, sent)
    await pacer.acquire(1)


async def test_a_request_that_may_land_in_two_minutes_needs_room_in_both(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON + 59_990, uncertainty_ms=50)
    pacer = world.pacer(world.file(tmp_path))
    await pacer.acquire(60)
    world.pass_s(1)
    await pacer.acquire(40)
    assert world.slept == []
    await pacer.acquire(1)
    assert world.now_ms() >= NOON + 2 * MINUTE


async def test_what_is_sent_before_the_clock_is_known_is_booked_later(tmp_path: Path) -> None:
    world = World(known=False)
    pacer = world.pacer(world.file(tmp_path), max_wait_s=1)
    await pacer.acquire(30)
    world.known = True
    await pacer.acquire(60)
    assert (await pacer.standing()).spent == {"REQUEST_WEIGHT": 90}
    with pytest.raises(RateLimited):
        await pacer.acquire(11)


async def test_the_exchanges_own_limits_replace_the_assumed_ones_in_every_process(tmp_path: Path) -> None:
    world = World()
    await world.pacer(world.file(tmp_path)).set_limits({"REQUEST_WEIGHT": (10, MINUTE), "ORDERS": (5, MINUTE)})
    other = world.pacer(world.file(tmp_path), limit=1000, share=0.5, max_wait_s=1)
    await other.acquire(5)
    with pytest.raises(RateLimited, match="5 of the exchange's 10"):
        await other.acquire(1)


async def test_a_limit_for_another_window_is_not_ours(tmp_path: Path) -> None:
    world = World()
    pacer = world.pacer(world.file(tmp_path))
    await pacer.set_limits({"REQUEST_WEIGHT": (7, 1_000)})
    assert pacer.pools[0].limit == 100


async def test_other_pools_are_counted_beside_the_weight(tmp_path: Path) -> None:
    world = World(exchange_ms=NOON // 300_000 * 300_000)
    pools = [Pool("REQUEST_WEIGHT", 100, MINUTE), Pool("FUNDING", 5, 5 * MINUTE), Pool("RAW_REQUESTS", 50, 5 * MINUTE)]
    pacer = Pacer("t", pools, world.file(tmp_path), max_wait_s=10, monotonic=world.monotonic, sleep=world.sleep)
    pacer.follow(world)
    for _ in range(5):
        await pacer.acquire(0, also={"FUNDING": 1})
    with pytest.raises(RateLimited, match="FUNDING in 300 s"):
        await pacer.acquire(0, also={"FUNDING": 1})
    await pacer.acquire(1)
    assert (await pacer.standing()).spent == {"REQUEST_WEIGHT": 1, "FUNDING": 5, "RAW_REQUESTS": 6}


async def test_a_cancelled_waiter_frees_its_place(tmp_path: Path) -> None:
    world = World()
    pacer = world.pacer(world.file(tmp_path))
    await pacer.acquire(100)
    waiting = asyncio.create_task(pacer.acquire(1))
    await world.asleep.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(pacer.acquire(1), 10)


async def test_losing_redis_in_the_middle_goes_on_in_the_file_and_loses_no_count(
    own_redis: OwnRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(exchange_ms=NOON + 1_000)
    redis = RedisStore(own_redis.url, "s")
    store = SharedStore(redis, world.file(tmp_path), monotonic=world.monotonic)
    pacer = world.pacer(store, max_wait_s=1)
    await pacer.acquire(60)
    own_redis.kill()
    await pacer.acquire(30)
    assert store.redis_away
    with pytest.raises(RateLimited):
        await pacer.acquire(11)
    own_redis.start()
    world.pass_s(6)
    await pacer.acquire(5)
    assert not store.redis_away
    assert (await redis.standing(["REQUEST_WEIGHT"]))[0]["REQUEST_WEIGHT"] == {NOON // MINUTE: 95}
    assert caplog.text.count("Redis is away") == 1
    assert caplog.text.count("Redis is back") == 1
    await pacer.close()


async def test_a_ban_known_in_redis_is_known_when_redis_dies(own_redis: OwnRedis, tmp_path: Path) -> None:
    world = World()
    store = SharedStore(RedisStore(own_redis.url, "s"), world.file(tmp_path), monotonic=world.monotonic)
    await world.pacer(store).banned(retry_after_s=90, until_ms=None, date_ms=None)
    own_redis.kill()
    newcomer = SharedStore(RedisStore(own_redis.url, "s"), world.file(tmp_path), monotonic=world.monotonic)
    with pytest.raises(Banned):
        await world.pacer(newcomer, max_wait_s=1).acquire(1)
    await store.close()
    await newcomer.close()


async def test_a_wrong_password_is_as_good_as_no_redis(redis_url: str, tmp_path: Path) -> None:
    world = World()
    store = SharedStore(
        RedisStore(redis_url.replace("test-only", "wrong"), "s"), world.file(tmp_path), monotonic=world.monotonic
    )
    await world.pacer(store).acquire(1)
    assert store.redis_away
    await store.close()


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("https://fapi.binance.com", "fapi.binance.com:443:um"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000:um"),
        ("http://localhost/x", "localhost:80:um"),
    ],
)
def test_a_scope_is_host_port_and_market(url: str, scope: str) -> None:
    assert scope_of(url, "um") == scope


async def test_replica_and_real_exchange_keep_apart(redis_url: str, tmp_path: Path) -> None:
    pools = [Pool("REQUEST_WEIGHT", 100, MINUTE)]
    world = World()
    urls = ("https://fapi.binance.com", "http://127.0.0.1:9000")
    real, replica = (
        open_pacer(url, "binance", "um", pools, control_url=redis_url, var_dir=tmp_path, max_wait_s=1) for url in urls
    )
    for pacer in (real, replica):
        pacer.follow(world)
    await replica.banned(retry_after_s=60, until_ms=None, date_ms=None)
    await real.acquire(100)
    assert (await real.standing()).halt is None
    assert (await replica.standing()).spent == {"REQUEST_WEIGHT": 0}
    await real.close()
    await replica.close()
