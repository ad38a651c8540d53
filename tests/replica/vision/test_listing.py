"""The bucket's listing, read as S3 clients read it."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.replica import ReplicaFactory, ReplicaHandle, start_replica
from tests.replica.vision.clients import get

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MINUTES = "data/futures/um/monthly/klines/BTCUSDT/1m/"


@pytest.fixture(scope="module")
def shared() -> Iterator[ReplicaHandle]:
    """One process for the tests that change nothing."""
    handle = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    yield handle
    handle.stop()


def page(replica: ReplicaHandle, **params: str | int) -> ET.Element:
    query = urllib.parse.urlencode({name.replace("_", "-"): value for name, value in params.items()})
    with urllib.request.urlopen(f"{replica.vision_list}?{query}", timeout=60) as answer:
        return ET.fromstring(answer.read())


def keys(root: ET.Element) -> list[str]:
    return [key.text or "" for key in root.iterfind(f"{NS}Contents/{NS}Key")]


def prefixes(root: ET.Element) -> list[str]:
    return [prefix.text or "" for prefix in root.iterfind(f"{NS}CommonPrefixes/{NS}Prefix")]


def text(root: ET.Element, name: str) -> str:
    return root.findtext(f"{NS}{name}") or ""


def test_folders_are_common_prefixes(shared: ReplicaHandle) -> None:
    assert prefixes(page(shared, prefix="data/", delimiter="/")) == ["data/futures/", "data/spot/"]
    assert prefixes(page(shared, prefix="data/futures/um/daily/", delimiter="/")) == [
        "data/futures/um/daily/klines/",
        "data/futures/um/daily/metrics/",
    ]
    symbols = prefixes(page(shared, prefix="data/spot/monthly/klines/", delimiter="/"))
    assert "data/spot/monthly/klines/WAVESUSDT/" in symbols  # the dead stay
    assert "data/spot/monthly/klines/币安人生USDT/" in symbols
    assert "data/spot/monthly/klines/NOVAUSDT/" not in symbols  # its first month is not published yet
    assert symbols == sorted(symbols)


def test_a_folder_lists_files_and_checksums_that_can_be_fetched(shared: ReplicaHandle) -> None:
    listed = keys(page(shared, prefix=MINUTES, delimiter="/"))
    assert listed[0] == f"{MINUTES}BTCUSDT-1m-2019-09.zip"
    assert listed[-1] == f"{MINUTES}BTCUSDT-1m-2026-10.zip.CHECKSUM"
    assert len(listed) == 2 * 86
    for key in (listed[0], listed[1], listed[-2], listed[-1]):
        assert get(shared, key, method="HEAD").status == 200


@pytest.mark.parametrize("version", [1, 2])
def test_pages_together_are_the_whole(shared: ReplicaHandle, version: int) -> None:
    whole = keys(page(shared, prefix=MINUTES))
    found: list[str] = []
    more: dict[str, str] = {"list-type": "2"} if version == 2 else {}
    while True:
        root = page(shared, prefix=MINUTES, max_keys=50, **more)
        found += keys(root)
        if text(root, "IsTruncated") != "true":
            break
        assert len(keys(root)) == 50
        token = text(root, "NextContinuationToken")
        more = {"list-type": "2", "continuation-token": token} if version == 2 else {"marker": found[-1]}
    assert found == whole


def test_common_prefixes_are_paged_by_next_marker(shared: ReplicaHandle) -> None:
    folder = "data/futures/um/monthly/klines/"
    whole = prefixes(page(shared, prefix=folder, delimiter="/"))
    found: list[str] = []
    marker = ""
    while True:
        root = page(shared, prefix=folder, delimiter="/", max_keys=4, marker=marker)
        found += prefixes(root)
        if text(root, "IsTruncated") != "true":
            break
        marker = text(root, "NextMarker")
        assert marker == found[-1]
    assert found == whole
    assert len(whole) > 8


def test_size_and_etag_are_told_once_a_file_was_built(replica: ReplicaHandle) -> None:
    key = f"{MINUTES}BTCUSDT-1m-2019-09.zip"
    first = page(replica, prefix=key).find(f"{NS}Contents")
    assert first is not None
    assert (first.findtext(f"{NS}Size"), first.findtext(f"{NS}LastModified")) == ("0", "2019-10-07T08:36:00.000Z")
    got = get(replica, key)
    then = page(replica, prefix=key).find(f"{NS}Contents")
    assert then is not None
    assert then.findtext(f"{NS}Size") == str(len(got.body))
    assert then.findtext(f"{NS}ETag") == got.headers["ETag"] == f'"{hashlib.md5(got.body).hexdigest()}"'


def test_a_stale_listing_lacks_what_can_be_fetched(replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": "/vision-list"}, "action": {"stale_list": "2026-08-15"}})
    assert keys(page(replica, prefix=MINUTES))[-1].endswith("2026-07.zip.CHECKSUM")
    assert get(replica, f"{MINUTES}BTCUSDT-1m-2026-10.zip", method="HEAD").status == 200
    replica.faults({"match": {"path": "/vision-list"}, "action": {"status": 503}})
    with pytest.raises(urllib.error.HTTPError):
        page(replica, prefix=MINUTES)
    assert replica.stats()["vision"]["requests"]["list"] == 2


def test_wrong_parameters_are_refused(shared: ReplicaHandle) -> None:
    for params in ({"max_keys": "many"}, {"delimiter": "x"}, {"list_type": 2, "continuation_token": "~"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            page(shared, **params)
        assert caught.value.code == 400
    assert keys(page(shared, prefix=MINUTES, max_keys=0)) == []
    assert "%E5%B8%81" in keys(page(shared, prefix="data/spot/daily/klines/币", encoding_type="url", max_keys=1))[0]


def test_recordings_are_listed_with_their_real_size(start_exchange: ReplicaFactory, recordings: Path) -> None:
    replica = start_exchange("--data", str(recordings), "--speed", "0", "--start", "2026-06-01")
    root = page(replica, prefix="data/futures/um/monthly/fundingRate/", delimiter="")
    assert keys(root)[0].endswith("BTCUSDT-fundingRate-2026-04.zip")
    real = recordings / "vision_zip/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-04.zip"
    assert root.findtext(f"{NS}Contents/{NS}Size") == str(real.stat().st_size)
