"""Objects come with their checksums compared; the listing is a hint that may fail."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import parse_time
from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision import archive as archive_module
from gapless.exchanges.binance.vision.archive import Archive, Checksum, read_checksum
from gapless.exchanges.binance.vision.objects import KLINES, METRICS, day_object, month_object, parse_path
from tests.exchanges.binance.vision.files import DAY, line, zipped
from tests.exchanges.binance.vision.shelf import Answer, Shelf, body, checksum, opened

OLD, NEW = zipped(line(0)), zipped(line(1))
SUM = f"{DAY.path}.CHECKSUM"


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with opened() as serving:
        yield serving


@pytest.fixture
async def archive(shelf: Shelf) -> AsyncIterator[Archive]:
    async with shelf.archive() as client:
        yield client


async def test_an_object_comes_to_the_byte_with_its_proof(shelf: Shelf, archive: Archive) -> None:
    shelf.put(DAY, OLD)
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.object, got.data, got.checksum) == (DAY, OLD, Checksum.VERIFIED)
    assert got.sha256 == got.told == hashlib.sha256(OLD).hexdigest()
    assert got.etag == hashlib.md5(OLD).hexdigest()
    assert sorted(shelf.asked) == [DAY.path, SUM]
    assert archive.requests == 2
    assert archive.bytes == len(OLD) + len(checksum(OLD, DAY.name))
    assert shelf.told == []


async def test_what_is_not_there_is_none_and_asked_for_once(shelf: Shelf, archive: Archive) -> None:
    assert await archive.fetch(DAY) is None
    assert sorted(shelf.asked) == [DAY.path, SUM]


async def test_zip_and_checksum_are_asked_for_at_once(shelf: Shelf, archive: Archive) -> None:
    shelf.put(DAY, OLD)
    both = asyncio.Barrier(2)

    def meeting(data: bytes) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            await asyncio.wait_for(both.wait(), 10)
            return web.Response(body=data)

        return answer

    shelf.scripts = {path: [meeting(shelf.files[path])] for path in (DAY.path, SUM)}
    got = await archive.fetch(DAY)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED


async def test_without_a_checksum_an_object_is_taken_and_flagged(shelf: Shelf, archive: Archive) -> None:
    shelf.files[DAY.path] = OLD
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.data, got.checksum, got.told) == (OLD, Checksum.ABSENT, "")
    assert archive.requests == 2


async def test_a_checksum_of_other_bytes_is_believed_the_second_time(shelf: Shelf, archive: Archive) -> None:
    shelf.put(DAY, OLD, told=checksum(NEW, DAY.name))
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.data, got.checksum, got.told) == (OLD, Checksum.MISMATCH, hashlib.sha256(NEW).hexdigest())
    assert sorted(shelf.asked) == [DAY.path, DAY.path, SUM, SUM]


@pytest.mark.parametrize("first", ["zip", "checksum"])
async def test_an_object_that_is_being_replaced_is_fetched_whole(shelf: Shelf, archive: Archive, first: str) -> None:
    shelf.put(DAY, NEW)
    if first == "zip":
        shelf.scripts[SUM] = [body(checksum(OLD, DAY.name))]
    else:
        shelf.scripts[DAY.path] = [body(OLD)]
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.data, got.checksum) == (NEW, Checksum.VERIFIED)
    assert archive.requests == 4


async def test_an_object_that_goes_away_between_is_gone(shelf: Shelf, archive: Archive) -> None:
    shelf.scripts = {DAY.path: [body(OLD)], SUM: [body(checksum(NEW, DAY.name))]}
    assert await archive.fetch(DAY) is None


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"<html></html>",
        hashlib.sha256(OLD).hexdigest().encode(),
        checksum(OLD, "BTCUSDT-1h-2024-09-02.zip"),
        checksum(OLD, DAY.name)[1:],
        checksum(OLD, DAY.name) * 2,
        b"\xff" + checksum(OLD, DAY.name),
        checksum(OLD, DAY.name) + b" " * 5000,
    ],
    ids=["empty", "html", "nameless", "other-name", "short", "twice", "no-text", "too-long"],
)
async def test_a_checksum_file_that_is_not_this_objects_is_a_mismatch(
    shelf: Shelf, archive: Archive, told: bytes
) -> None:
    shelf.put(DAY, OLD, told=told)
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.checksum, got.told) == (Checksum.MISMATCH, "")
    assert await archive.told_sha256(DAY) == ""


@pytest.mark.parametrize("told", ["{}  {}", "{} *{}\n", "{}  {}\r\n"])
def test_the_forms_of_sha256sum_are_read(told: str) -> None:
    sha = hashlib.sha256(OLD).hexdigest()
    assert read_checksum(told.format(sha.upper(), DAY.name).encode(), DAY) == sha


def test_recorded_checksum_files_are_read(recordings: Path) -> None:
    root = recordings / "vision_zip"
    files = [path for path in root.rglob("*.CHECKSUM") if "cm" not in path.parts]
    for path in files:
        obj = parse_path(f"data/{path.relative_to(root)}".removesuffix(".CHECKSUM"))
        assert obj is not None
        sha = hashlib.sha256(path.with_suffix("").read_bytes()).hexdigest()
        assert read_checksum(path.read_bytes(), obj) == sha
    assert len(files) == 4


async def test_a_recheck_costs_the_checksum_alone(shelf: Shelf, archive: Archive) -> None:
    assert await archive.told_sha256(DAY) is None
    shelf.put(DAY, OLD)
    assert await archive.told_sha256(DAY) == hashlib.sha256(OLD).hexdigest()
    assert shelf.asked == [SUM, SUM]


async def test_a_checksum_that_cannot_be_had_is_not_taken_for_absent(shelf: Shelf, archive: Archive) -> None:
    shelf.put(DAY, OLD)
    shelf.scripts[SUM] = [body("oops", 500)] * 5
    with pytest.raises(ExchangeError, match=r"CHECKSUM at .*HTTP 500: oops; gave up after 5 attempts"):
        await archive.fetch(DAY)


async def test_a_missing_zip_needs_no_checksum(shelf: Shelf, archive: Archive) -> None:
    shelf.scripts[SUM] = [body("oops", 500)] * 5
    assert await archive.fetch(DAY) is None


async def chunked(request: web.Request) -> web.StreamResponse:
    """The bytes without their length in front."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(OLD)
    return response


@pytest.mark.parametrize("answer", [body(OLD), chunked], ids=["announced", "not announced"])
async def test_a_zip_larger_than_any_is_left_alone(
    shelf: Shelf, archive: Archive, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    shelf.put(DAY, OLD)
    shelf.scripts[DAY.path] = [chunked, answer]
    got = await archive.fetch(DAY)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED
    monkeypatch.setattr(archive_module, "MAX_ZIP_BYTES", len(OLD) - 1)
    with pytest.raises(ExchangeError, match=f"{DAY.name}: larger than {len(OLD) - 1} bytes"):
        await archive.fetch(DAY)
    assert len(shelf.asked) == 4


async def test_symbols_of_any_script_are_percent_encoded_on_the_way(shelf: Shelf, archive: Archive) -> None:
    obj = month_object(Market.UM, KLINES, "币安人生USDT", Interval.M1, parse_time("2025-11-01"))
    shelf.put(obj, OLD)
    got = await archive.fetch(obj)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED
    encoded = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"
    assert f"/vision/data/futures/um/monthly/klines/{encoded}/1m/{encoded}-1m-2025-11.zip" in shelf.raw


async def test_no_more_requests_than_allowed_are_under_way(shelf: Shelf) -> None:
    days = [day_object(Market.UM, KLINES, "BTCUSDT", Interval.H1, DAY.start_ms + n * 86_400_000) for n in range(8)]
    now = most = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(20):  # long enough for everybody who may to come in
            await asyncio.sleep(0)
        now -= 1
        return web.Response(body=OLD)

    shelf.scripts["*"] = [answer] * 32
    async with shelf.archive(concurrency=3) as client:
        got = await asyncio.gather(*(client.fetch(day) for day in days))
    assert {each.checksum for each in got if each} == {Checksum.MISMATCH}
    assert most == 3


# The listing


def pages(*names: str, size: int = 2, marker: bool = True) -> Callable[[dict[str, str]], bytes]:
    """A bucket of these keys, `size` names a page."""

    def answer(query: dict[str, str]) -> bytes:
        prefix = query["prefix"]
        found = sorted({_entry(name, prefix) for name in names if name.startswith(prefix)})
        rest = [each for each in found if each > query.get("marker", "")]
        page, more = rest[:size], len(rest) > size
        xml = ['<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">']
        xml.append(f"<Prefix>{prefix}</Prefix><IsTruncated>{str(more).lower()}</IsTruncated>")
        xml += [f"<NextMarker>{page[-1]}</NextMarker>"] if more and marker else []
        for each in page:
            inner = f"<Prefix>{each}</Prefix>" if each.endswith("/") else f"<Key>{each}</Key><Size>1</Size>"
            outer = "CommonPrefixes" if each.endswith("/") else "Contents"
            xml.append(f"<{outer}>{inner}</{outer}>")
        return "".join([*xml, "</ListBucketResult>"]).encode()

    return answer


def _entry(name: str, prefix: str) -> str:
    head, slash, _ = name.removeprefix(prefix).partition("/")
    return f"{prefix}{head}{slash}"


def keys(*symbols: str) -> list[str]:
    months = [parse_time(f"2024-{month:02}-01") for month in (10, 9, 11)]
    paths = [month_object(Market.UM, KLINES, symbol, Interval.M1, at).path for symbol in symbols for at in months]
    return [name for path in paths for name in (path, f"{path}.CHECKSUM")]


@pytest.mark.parametrize("marker", [True, False])
async def test_symbols_and_periods_are_listed_over_all_pages(shelf: Shelf, archive: Archive, marker: bool) -> None:
    shelf.listing = pages(*keys("ETHUSDT", "BTCUSDT", "币安人生USDT"), marker=marker)
    assert await archive.symbols(Market.UM, KLINES) == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert [query.get("marker") for query in shelf.queries] == [None, "data/futures/um/monthly/klines/ETHUSDT/"]
    assert shelf.queries[0] == {"delimiter": "/", "prefix": "data/futures/um/monthly/klines/", "max-keys": "1000"}
    found = await archive.periods(Market.UM, KLINES, "币安人生USDT", Interval.M1, "month")
    assert found == [parse_time(f"2024-{month:02}-01") for month in (9, 10, 11)]
    assert await archive.periods(Market.UM, KLINES, "BTCUSDT", Interval.H1, "month") == []
    assert shelf.told == []


async def test_what_comes_by_day_alone_is_listed_by_day_and_what_never_comes_is_not_asked_for(
    shelf: Shelf, archive: Archive
) -> None:
    day = day_object(Market.UM, METRICS, "BTCUSDT", None, parse_time("2024-09-17"))
    shelf.listing = pages(*keys("ETHUSDT"), day.path)
    assert await archive.symbols(Market.UM, METRICS) == ["BTCUSDT"]
    assert await archive.periods(Market.UM, METRICS, "BTCUSDT", None, "day") == [day.start_ms]
    asked = len(shelf.asked)
    assert await archive.periods(Market.UM, METRICS, "BTCUSDT", None, "month") == []
    assert await archive.symbols(Market.SPOT, METRICS) == []
    assert await archive.symbols(Market.UM, METRICS, "month") == []
    assert len(shelf.asked) == asked


_TRUNCATED = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>{}'
    "</ListBucketResult>"
)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (body("<html>no</html>"), "a html is no listing"),
        (body("{}"), "no XML"),
        (body(b""), "no XML"),
        (body("<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>"), "no document type"),
        (body(_TRUNCATED.format("")), "without names"),
        (body(_TRUNCATED.format("<NextMarker>data/</NextMarker>")), "does not go on behind data/"),
        (body("", 404), "no such bucket"),
        (body("denied", 403), "refuses this address"),
        (body("oops", 500), "gave up after 5 attempts"),
    ],
)
async def test_a_listing_that_cannot_be_had_is_said_and_gone_without(
    shelf: Shelf, archive: Archive, answer: Answer, says: str
) -> None:
    shelf.scripts["/list"] = [answer] * 9
    assert await archive.symbols(Market.UM, KLINES) == []
    [told] = shelf.told
    assert says in told
    assert "no listing of data/futures/um/monthly/klines/" in told


async def test_a_listing_page_larger_than_any_is_left(
    shelf: Shelf, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_MAX_LIST_BYTES", 100)
    shelf.listing = pages(*keys("BTCUSDT"))
    assert await archive.periods(Market.UM, KLINES, "BTCUSDT", Interval.M1, "month") == []
    assert "larger than 100 bytes" in shelf.told[0]


async def test_an_endless_listing_is_left(shelf: Shelf, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "_MAX_LIST_PAGES", 3)
    shelf.listing = lambda query: _TRUNCATED.format(f"<NextMarker>{query.get('marker', '')}z</NextMarker>").encode()
    assert await archive.symbols(Market.UM, KLINES) == []
    assert "more than 3 pages" in shelf.told[0]
    assert len(shelf.queries) == 3


async def test_without_a_list_address_nothing_is_listed_or_asked(shelf: Shelf) -> None:
    async with shelf.archive(list_url=None) as client:
        assert await client.symbols(Market.UM, KLINES) == []
        assert await client.periods(Market.UM, KLINES, "BTCUSDT", Interval.M1, "day") == []
    assert (shelf.asked, shelf.told) == ([], [])
