"""Faults of archive files, as a plain client sees them."""

from __future__ import annotations

import hashlib
import http.client
import io
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from typing import Any

import pytest

from gapless.domain.window import DAY_MS, parse_time
from tests.fixtures.replica import ReplicaHandle
from tests.replica.vision.clients import get, lines, told, true_checksum

NAME = "BTCUSDT-1h-2026-10"
PATH = f"data/futures/um/monthly/klines/BTCUSDT/1h/{NAME}.zip"
OTHER = "data/futures/um/monthly/klines/ETHUSDT/1h/ETHUSDT-1h-2026-10.zip"
METRICS = "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-11-10.zip"


def on(replica: ReplicaHandle, action: dict[str, Any], *, path: str = f"*/{NAME}.zip", **match: Any) -> None:
    """One rule."""
    replica.faults({"match": {"path": path, **match}, "action": action})


def applied(replica: ReplicaHandle) -> int:
    return int(replica.stats()["faults"][0]["applied"])


def broken(data: bytes) -> bool:
    """Whether the ZIP's member does not come out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        try:
            return archive.testzip() is not None
        except (zipfile.BadZipFile, zlib.error):
            return True


def test_a_truncated_file_is_cut_and_its_length_true(replica: ReplicaHandle) -> None:
    whole = get(replica, PATH).body
    on(replica, {"truncated": 0.25})
    cut = get(replica, PATH)
    assert cut.body == whole[: len(whole) // 4]
    assert int(cut.headers["Content-Length"]) == len(cut.body)
    assert told(replica, PATH) == hashlib.sha256(whole).hexdigest()
    assert get(replica, OTHER).status == 200
    assert not broken(get(replica, OTHER).body)


@pytest.mark.parametrize(("checksum", "fits"), [("wrong", False), ("right", True)])
def test_a_corrupt_file_does_not_unpack_and_its_checksum_is_as_told(
    replica: ReplicaHandle, checksum: str, fits: bool
) -> None:
    sound = get(replica, PATH).body
    on(replica, {"corrupt": {"bytes": 3, "checksum": checksum}})
    corrupt = get(replica, PATH).body
    assert len(corrupt) == len(sound)
    assert sum(a != b for a, b in zip(corrupt, sound, strict=True)) == 3
    assert broken(corrupt)
    assert get(replica, PATH).body == corrupt
    assert true_checksum(replica, PATH) is fits


def test_a_wrong_checksum_names_another_sum_or_says_anything(replica: ReplicaHandle) -> None:
    whole = get(replica, PATH).body
    on(replica, {"wrong_checksum": True})
    assert get(replica, PATH).body == whole
    assert told(replica, PATH) != hashlib.sha256(whole).hexdigest()
    on(replica, {"wrong_checksum": "no checksum at all"})
    assert get(replica, PATH + ".CHECKSUM").body == b"no checksum at all"


@pytest.mark.parametrize(
    ("what", "zip_status", "checksum_status"), [(True, 404, 404), ("zip", 404, 200), ("checksum", 200, 404)]
)
def test_a_file_or_its_checksum_is_missing(
    replica: ReplicaHandle, what: bool | str, zip_status: int, checksum_status: int
) -> None:
    on(replica, {"missing": what})
    assert get(replica, PATH).status == zip_status
    assert get(replica, PATH, method="HEAD").status == zip_status
    assert get(replica, PATH + ".CHECKSUM").status == checksum_status
    assert get(replica, OTHER).status == 200


def test_rows_and_days_are_left_out_and_the_checksum_is_right(replica: ReplicaHandle) -> None:
    whole = lines(replica, PATH)
    on(replica, {"drop_rows": [0, 5, -1]})
    assert lines(replica, PATH) == [whole[0], *whole[2:6], *whole[7:-1]]
    assert true_checksum(replica, PATH)
    on(replica, {"drop_days": ["2026-10-03", "2026-10-31"]})
    left = lines(replica, PATH)
    assert len(left) == len(whole) - 48
    days = {int(line.split(",")[0]) // DAY_MS for line in left[1:]}
    assert not days & {parse_time("2026-10-03") // DAY_MS, parse_time("2026-10-31") // DAY_MS}
    assert true_checksum(replica, PATH)


def test_rows_are_doubled_disordered_and_altered_and_the_checksum_is_right(replica: ReplicaHandle) -> None:
    whole = lines(replica, PATH)
    on(replica, {"duplicate_rows": 2})
    assert lines(replica, PATH) == [*whole[:4], *whole[3:]]
    on(replica, {"shuffle_rows": True})
    mixed = lines(replica, PATH)
    assert mixed != whole
    assert sorted(mixed) == sorted(whole)
    assert lines(replica, PATH) == mixed
    assert true_checksum(replica, PATH)
    on(replica, {"alter": [{"row": "2026-10-02T03:00", "field": "high", "value": "1E-8"}, {"row": 0, "append": "x"}]})
    altered = [line.split(",") for line in lines(replica, PATH)]
    before = [line.split(",") for line in whole]
    assert altered[1] == [*before[1], "x"]
    assert altered[28][2] == "1E-8"
    assert altered[28][3:] == before[28][3:]
    assert true_checksum(replica, PATH)


def test_header_and_unit_vary(replica: ReplicaHandle) -> None:
    whole = lines(replica, PATH)
    on(replica, {"header": "off"})
    assert lines(replica, PATH) == whole[1:]
    spot = "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-10.zip"
    on(replica, {"header": "on"}, path=f"/vision/{spot}")
    assert lines(replica, spot)[0] == whole[0]
    on(replica, {"unit": "us"})
    first = lines(replica, PATH)[1].split(",")
    assert (first[0], first[6]) == ("1790812800000000", "1790816399999999")
    on(replica, {"unit": "ms"}, path=f"/vision/{spot}")
    first = lines(replica, spot)[0].split(",")
    assert (first[0], first[6]) == ("1790812800000", "1790816399999")
    assert true_checksum(replica, spot)


def test_a_file_is_replaced_once_it_was_read(replica: ReplicaHandle) -> None:
    on(replica, {"replaced": {"after": 2, "alter": {"row": 0, "field": "close", "value": "1.5"}}})
    visits = [(get(replica, PATH), told(replica, PATH)) for _ in range(4)]
    assert [checksum == hashlib.sha256(answer.body).hexdigest() for answer, checksum in visits] == [True] * 4
    tags = [answer.headers["ETag"] for answer, _ in visits]
    assert tags[0] == tags[1] != tags[2] == tags[3]
    assert lines(replica, PATH)[1].split(",")[4] == "1.5"


def test_who_sees_the_new_checksum_is_served_the_new_file(replica: ReplicaHandle) -> None:
    old = get(replica, PATH).body
    on(replica, {"replaced": {"after": 1}})
    assert told(replica, PATH) == hashlib.sha256(old).hexdigest()
    new = told(replica, PATH)
    assert new != hashlib.sha256(old).hexdigest()
    assert hashlib.sha256(get(replica, PATH).body).hexdigest() == new


def test_a_file_is_replaced_at_a_time_of_the_clock(replica: ReplicaHandle) -> None:
    old = get(replica, PATH).body
    on(replica, {"replaced": {"after": 0}}, **{"from": "2026-11-16"})
    assert get(replica, PATH).body == old
    replica.set_clock("2026-11-16")
    assert get(replica, PATH).body != old
    assert true_checksum(replica, PATH)


def test_republishing_takes_restatements_in(replica: ReplicaHandle) -> None:
    before = get(replica, PATH)
    replica.restate("um", "BTCUSDT", "1h", "2026-10-01T01:00", close="1.5", trades=9)
    assert get(replica, PATH).headers["ETag"] == before.headers["ETag"]
    assert replica.republish("data/futures/um/monthly/klines/BTCUSDT/1h/*-2026-1?.zip") == [PATH]
    after = get(replica, PATH)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.headers["Last-Modified"] == "Sun, 15 Nov 2026 12:30:30 GMT"
    row = lines(replica, PATH)[2].split(",")
    assert (row[4], row[8]) == ("1.5", "9")
    assert true_checksum(replica, PATH)
    with pytest.raises(urllib.error.HTTPError):
        replica.republish("data/nothing/*.zip")


def test_a_slow_file_takes_its_time(replica: ReplicaHandle) -> None:
    size = len(get(replica, PATH).body)
    on(replica, {"slow_bytes_per_s": size})
    began = time.monotonic()
    assert len(get(replica, PATH).body) == size
    assert time.monotonic() - began > 0.8


def test_statuses_pages_and_broken_connections_befall_the_archive(replica: ReplicaHandle) -> None:
    on(replica, {"status": 503}, times=1)
    busy = get(replica, PATH)
    assert busy.status == 503
    assert b"<Code>SlowDown</Code>" in busy.body
    assert get(replica, PATH).status == 200
    on(replica, {"status": {"code": 429, "retry_after": 7}}, times=1)
    assert get(replica, PATH).headers["Retry-After"] == "7"
    on(replica, {"html": True})
    page = get(replica, PATH)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
    assert get(replica, PATH + ".CHECKSUM").status == 200
    on(replica, {"reset": {"after": 0.5}})
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        get(replica, PATH)
    on(replica, {"hang": 0.05})
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, urllib.error.URLError)):
        get(replica, PATH)
    on(replica, {"delay_ms": 300})
    began = time.monotonic()
    get(replica, PATH)
    assert time.monotonic() - began >= 0.3


def test_series_files_are_altered_by_their_own_names(replica: ReplicaHandle) -> None:
    on(
        replica,
        {
            "alter": [
                {"row": 3, "field": "count_long_short_ratio", "value": None},
                {"row": "2026-11-10T00:00", "field": "create_time", "value": "2026-11-10 00:00:01"},
            ]
        },
        path="*-metrics-*.zip",
    )
    rows = [line.split(",") for line in lines(replica, METRICS)]
    assert rows[4][6] == ""
    assert rows[1][0] == "2026-11-10 00:00:01"
    assert applied(replica) == 1


def test_the_same_actions_shape_rest_rows_of_the_series(replica: ReplicaHandle) -> None:
    replica.faults(
        {
            "match": {"path": "/fapi/v1/fundingRate"},
            "action": {"alter": {"row": 0, "field": "fundingRate", "value": "oops"}},
        },
        {"match": {"path": "/futures/data/openInterestHist"}, "action": {"drop_rows": [0]}},
    )
    assert replica.get("/fapi/v1/fundingRate", symbol="BTCUSDT", limit=2)[0]["fundingRate"] == "oops"
    assert len(replica.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", limit=5)) == 4


def test_a_rule_without_a_path_leaves_the_archive_alone(replica: ReplicaHandle) -> None:
    replica.faults({"match": {"symbol": "BTCUSDT"}, "action": {"status": 503}})
    assert get(replica, PATH).status == 200
    with pytest.raises(urllib.error.HTTPError):
        replica.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=1)


def test_rules_meet_files_by_symbol_and_interval_and_a_probability_draws_files(replica: ReplicaHandle) -> None:
    on(replica, {"missing": True}, path="/vision/*", symbol="ETHUSDT", interval="1h")
    assert (get(replica, PATH).status, get(replica, OTHER).status) == (200, 404)
    on(replica, {"missing": True}, path="/vision/*", probability=0.5)
    paths = [f"data/futures/um/daily/klines/BTCUSDT/1d/BTCUSDT-1d-2026-10-{day:02d}.zip" for day in range(1, 31)]
    first = [get(replica, path).status for path in paths]
    assert set(first) == {200, 404}
    assert [get(replica, path).status for path in paths] == first


def test_times_spoils_the_first_visits_of_file_and_checksum_alike(replica: ReplicaHandle) -> None:
    sound = get(replica, PATH).body
    on(replica, {"drop_rows": 0}, times=1)
    pair = get(replica, PATH).body, told(replica, PATH)
    assert hashlib.sha256(pair[0]).hexdigest() == pair[1]
    assert pair[0] != sound
    assert get(replica, PATH).body == sound
    assert told(replica, PATH) == hashlib.sha256(sound).hexdigest()
    assert applied(replica) == 1


def test_an_alteration_that_finds_nothing_is_not_counted_as_applied(replica: ReplicaHandle) -> None:
    on(replica, {"alter": {"row": "2020-01-01", "field": "close", "value": "1"}})
    assert get(replica, PATH).status == 200
    assert applied(replica) == 0


@pytest.mark.parametrize(
    "action",
    [
        {"corrupt": {"checksum": "maybe"}},
        {"missing": "both", "header": "on"},
        {"drop_days": "yesterday"},
        {"unit": "ns"},
        {"slow_bytes_per_s": 0},
        {"replaced": {"afterwards": 1}},
        {"alter": {"row": 0, "field": "colour", "value": 1}},
    ],
)
def test_a_misspelt_fault_is_refused(replica: ReplicaHandle, action: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        on(replica, action)
    assert caught.value.code == 422


def test_archive_requests_are_counted_by_kind(replica: ReplicaHandle) -> None:
    size = len(get(replica, PATH).body) + len(get(replica, PATH + ".CHECKSUM").body)
    get(replica, PATH, method="HEAD")
    size += len(get(replica, PATH.replace("2026-10", "2026-11")).body)
    stats = replica.stats()["vision"]
    assert stats["requests"] == {"zip": 3, "CHECKSUM": 1}
    assert (stats["heads"], stats["bytes"], stats["statuses"]) == (1, size, {"200": 3, "404": 1})
