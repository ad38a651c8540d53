"""The archive tree: paths, publication, text formats, and what S3 tells of an object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from replica.vision.store import ZipCache
from replica.vision.zipped import sealed
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle, start_replica
from tests.replica.vision.clients import get, lines, true_checksum

UM_MONTH = "data/futures/um/monthly/klines/{0}/{1}/{0}-{1}-{2}.zip"
UM_DAY = "data/futures/um/daily/klines/{0}/{1}/{0}-{1}-{2}.zip"
SPOT_MONTH = "data/spot/monthly/klines/{0}/{1}/{0}-{1}-{2}.zip"
SPOT_DAY = "data/spot/daily/klines/{0}/{1}/{0}-{1}-{2}.zip"
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ReplicaHandle]:
    """One process for the tests that change nothing."""
    handle = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30", "--um-weight", "0")
    yield handle
    handle.stop()


def rest_lines(replica: ReplicaHandle, path: str, symbol: str, interval: str, start: int, count: int) -> list[str]:
    rows = replica.get(path, symbol=symbol, interval=interval, startTime=start, limit=count)
    return [",".join(str(value) for value in row) for row in rows]


def test_a_day_of_usdm_minutes_is_what_rest_answers(shared: ReplicaHandle) -> None:
    text = lines(shared, UM_DAY.format("BTCUSDT", "1m", "2026-11-14"))
    assert text[0] == HEADER
    assert len(text) == 1441
    assert text[1:] == rest_lines(shared, "/fapi/v1/klines", "BTCUSDT", "1m", 1794614400000, 1440)


def test_a_month_of_spot_hours_is_what_rest_answers_in_microseconds(shared: ReplicaHandle) -> None:
    text = lines(shared, SPOT_MONTH.format("币安人生USDT", "1h", "2026-10"))
    assert len(text) == 744
    assert text[0].startswith("1790812800000000,")
    rest = rest_lines(shared, "/api/v3/klines", "币安人生USDT", "1h", 1790812800000, 744)
    told = [line.split(",") for line in rest]
    assert text == [",".join([f"{r[0]}000", *r[1:6], f"{r[6]}999", *r[7:]]) for r in told]
    assert all(line.split(",")[6].endswith("999999") for line in text)


def test_spot_counts_milliseconds_up_to_2024_and_microseconds_from_2025(shared: ReplicaHandle) -> None:
    assert lines(shared, SPOT_DAY.format("BTCUSDT", "1d", "2024-12-31"))[0].startswith("1735603200000,")
    assert lines(shared, SPOT_DAY.format("BTCUSDT", "1d", "2025-01-01"))[0].startswith("1735689600000000,")


def test_usdm_files_have_a_header_from_may_2022_on(shared: ReplicaHandle) -> None:
    assert lines(shared, UM_MONTH.format("BTCUSDT", "1d", "2022-04"))[0].startswith("1648771200000,")
    assert lines(shared, UM_MONTH.format("BTCUSDT", "1d", "2022-05"))[0] == HEADER
    assert lines(shared, SPOT_MONTH.format("BTCUSDT", "1d", "2022-05"))[0].startswith("1651363200000,")


def test_the_checksum_is_true_and_the_bytes_are_the_same_in_every_process(
    shared: ReplicaHandle, start_exchange: ReplicaFactory
) -> None:
    path = UM_MONTH.format("1000PEPEUSDT", "5m", "2026-09")
    other = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-12-15")
    first, second = get(shared, path), get(other, path)
    assert first.body == second.body
    assert first.headers["ETag"] == f'"{hashlib.md5(first.body).hexdigest()}"' == second.headers["ETag"]
    checksum = get(shared, path + ".CHECKSUM").body.decode()
    assert checksum == f"{hashlib.sha256(first.body).hexdigest()}  1000PEPEUSDT-5m-2026-09.zip\n"


def test_a_day_is_published_at_0836_of_the_next_and_a_month_on_the_first_monday(replica: ReplicaHandle) -> None:
    day, month = UM_DAY.format("BTCUSDT", "1d", "2026-11-14"), UM_MONTH.format("BTCUSDT", "1d", "2026-10")
    for path, before, after in (
        (day, "2026-11-15T08:35:59", "2026-11-15T08:36"),
        (month, "2026-11-02T08:35:59", "2026-11-02T08:36"),  # a Monday
    ):
        for suffix in ("", ".CHECKSUM"):
            replica.set_clock(before)
            assert get(replica, path + suffix).status == 404
            replica.set_clock(after)
            assert get(replica, path + suffix).status == 200
    assert get(replica, month).headers["Last-Modified"] == "Mon, 02 Nov 2026 08:36:00 GMT"


def test_the_dead_stay_in_the_archive(shared: ReplicaHandle) -> None:
    last_spot = lines(shared, SPOT_MONTH.format("WAVESUSDT", "1h", "2024-06"))
    assert last_spot[-1].startswith("1718589600000,")  # 2024-06-17T02:00, delisted at 03:00
    assert get(shared, SPOT_MONTH.format("WAVESUSDT", "1h", "2024-07")).status == 404
    flat = lines(shared, UM_MONTH.format("OMGUSDT", "1h", "2025-06"))
    assert len(flat) == 721
    assert {line.split(",")[5] for line in flat[1:]} == {"0"}


def test_a_listing_month_is_short_and_the_month_before_is_not_there(shared: ReplicaHandle) -> None:
    first = lines(shared, UM_MONTH.format("BTCUSDT", "1h", "2019-09"))
    assert first[0].startswith("1567962000000,")  # 2019-09-08T17:00, listed at 17:55
    assert get(shared, UM_MONTH.format("BTCUSDT", "1h", "2019-08")).status == 404
    assert get(shared, UM_DAY.format("BTCUSDT", "1h", "2019-09-07")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-5m-2026-09.zip",
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-13.zip",
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-09-01.zip",
        "data/futures/um/monthly/klines/GONEUSDT/1m/GONEUSDT-1m-2026-09.zip",
        "data/futures/um/monthly/metrics/BTCUSDT/BTCUSDT-metrics-2026-09.zip",
        "data/futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-09-01.zip",
        "data/futures/cm/daily/klines/BTCUSD_PERP/1m/BTCUSD_PERP-1m-2026-09-01.zip",
        "favicon.ico",
    ],
)
def test_what_the_archive_does_not_have_is_s3s_404(shared: ReplicaHandle, path: str) -> None:
    answer = get(shared, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/xml"
    assert b"<Code>NoSuchKey</Code>" in answer.body
    assert f"<Key>{path}</Key>".encode() in answer.body


def test_head_tells_what_get_would(shared: ReplicaHandle) -> None:
    path = UM_DAY.format("ETHUSDT", "15m", "2026-11-14")
    head, whole = get(shared, path, method="HEAD"), get(shared, path)
    assert head.status == 200
    assert head.body == b""
    for name in ("Content-Length", "ETag", "Last-Modified", "Accept-Ranges", "Content-Type"):
        assert head.headers[name] == whole.headers[name]
    assert int(head.headers["Content-Length"]) == len(whole.body)


def test_ranges_are_served_as_s3_does(shared: ReplicaHandle) -> None:
    path = UM_DAY.format("ETHUSDT", "15m", "2026-11-14")
    whole = get(shared, path).body
    for header, start, stop in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(whole)),
        ("bytes=-7", len(whole) - 7, len(whole)),
        (f"bytes=5-{len(whole) + 100}", 5, len(whole)),
    ):
        part = get(shared, path, Range=header)
        assert (part.status, part.body) == (206, whole[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    beyond = get(shared, path, Range=f"bytes={len(whole)}-")
    assert beyond.status == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert get(shared, path, Range="bytes=9-2").body == whole


def test_an_unchanged_file_is_304(shared: ReplicaHandle) -> None:
    path = UM_DAY.format("ETHUSDT", "15m", "2026-11-14")
    tag = get(shared, path).headers["ETag"]
    unchanged = get(shared, path, If_None_Match=tag)
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", tag)
    assert get(shared, path, If_None_Match='"another"').status == 200
    assert get(shared, path, If_Modified_Since="Mon, 16 Nov 2026 00:00:00 GMT").status == 304
    assert get(shared, path, If_Modified_Since="Sun, 15 Nov 2026 00:00:00 GMT").status == 200


def test_real_recordings_are_served_byte_for_byte(start_exchange: ReplicaFactory, recordings: Path) -> None:
    replica = start_exchange("--data", str(recordings), "--speed", "0", "--start", "2026-06-01")
    for path in (
        "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-05-08.zip",
        "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-04.zip",
    ):
        real = recordings / "vision_zip" / path.removeprefix("data/")
        assert get(replica, path).body == real.read_bytes()
        assert get(replica, path + ".CHECKSUM").body == real.with_name(real.name + ".CHECKSUM").read_bytes()


def test_recorded_text_comes_back_word_for_word(start_exchange: ReplicaFactory, recordings: Path) -> None:
    replica = start_exchange("--data", str(recordings), "--speed", "0", "--start", "2026-06-01")
    path = UM_MONTH.format("ALGOUSDT", "1m", "2024-09")
    recorded = recordings / "klines_1m" / "um_futures_vision_csv" / "ALGOUSDT-1m-2024-09.csv"
    assert lines(replica, path) == recorded.read_text().splitlines()
    assert true_checksum(replica, path)
    assert len(lines(replica, UM_DAY.format("ALGOUSDT", "1m", "2024-09-10"))) == 1441
    month_of_one_day = "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01.zip"
    assert get(replica, month_of_one_day).status == 404


def test_the_cache_keeps_within_its_bytes_and_drops_the_longest_unused() -> None:
    cache = ZipCache(most_bytes=25)
    made: list[str] = []

    def file(name: str) -> bytes:
        return cache.get(name, lambda: (made.append(name) or sealed(name, b"0123456789"), frozenset()))[0].data

    for name in ("a", "b", "a", "c", "a", "b"):
        file(name)
    assert made == ["a", "b", "c", "b"]
