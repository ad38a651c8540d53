"""The cut network: every connection reset, REST and archive, for a span of real time."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import aiohttp
import pytest

from tests.fixtures.replica import ReplicaHandle
from tests.replica.vision.clients import get

DAY = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11-14.zip"
GONE = (ConnectionResetError, urllib.error.URLError)


def test_a_cut_network_resets_rest_and_archive_but_not_the_control(replica: ReplicaHandle) -> None:
    replica.cut_network(60)
    with pytest.raises(GONE):
        replica.get("/fapi/v1/time")
    with pytest.raises(GONE):
        get(replica, DAY)
    with pytest.raises(GONE):
        urllib.request.urlopen(replica.vision_list, timeout=10)
    assert replica.stats()["network_resets"] == 3
    assert replica.stats()["um"]["requests_total"] == 0
    replica.cut_network(0)
    assert replica.get("/fapi/v1/time")
    assert get(replica, DAY).status == 200


def test_a_cut_ends_by_itself_after_real_time_though_the_clock_is_frozen(replica: ReplicaHandle) -> None:
    replica.cut_network(0.2)
    for _ in range(1000):
        try:
            assert replica.get("/fapi/v1/time")["serverTime"] == replica.now_ms()
            break
        except GONE:
            continue
    else:
        pytest.fail("the cut did not end")
    assert replica.stats()["network_resets"] > 0


async def test_what_is_under_way_is_reset_by_the_cut(replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": "*.zip"}, "action": {"slow_bytes_per_s": 1}})
    async with aiohttp.ClientSession() as session, session.get(f"{replica.vision}/{DAY}") as answer:
        assert answer.status == 200
        await asyncio.to_thread(replica.cut_network, 60)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


def test_a_wrong_cut_is_refused(replica: ReplicaHandle) -> None:
    for body in ({"cut_s": -1}, {"cut_s": "long"}, {"seconds": 1}, {}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            replica._call("network", body)
        assert caught.value.code == 422
        assert "error" in json.load(caught.value)
