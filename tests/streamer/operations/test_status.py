"""How a streamer stands: written, read, judged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gapless.errors import ValidationError
from streamer.operations.shards import Shard
from streamer.operations.status import (
    BarsStatus,
    BookStatus,
    LaneStatus,
    MarketStatus,
    OutletStatus,
    StreamStatus,
    decode_status,
    encode_status,
    problems,
    status_key,
)
from streamer.operations.status_view import missing_shards, show, verdict, worst_first
from tests.streamer.operations.samples import AT_MS, status


def stream(symbol: str = "A/USDT", market: str = "um", **given: Any) -> StreamStatus:
    return StreamStatus(kind="trades", market=market, symbol=symbol, **given)


def test_a_small_status_is_plain_json_and_a_large_one_a_fraction_of_it() -> None:
    small = encode_status(status())
    assert msgspec.json.decode(small)["shard"] == "0/1"
    many = status(streams=tuple(stream(f"COIN{n}/USDT", messages=n, last_id=str(n)) for n in range(4_000)))
    large = encode_status(many)
    assert len(large) < 100_000
    assert decode_status(large) == many
    assert decode_status(small) == status()


@pytest.mark.parametrize("value", [b"", b"{}", b"garbage", b"x\x9c\x00", b"[]"])
def test_what_is_no_status_is_an_error_of_ours(value: bytes) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        decode_status(value)


def test_a_key_names_the_shard() -> None:
    assert status_key(Shard(1, 4)) == "last.streamer.1/4"


def test_a_streamer_that_is_well_has_no_problems() -> None:
    assert problems(status()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outlet": None}, "Redis does not take entries"),
        ({"outlet": OutletStatus(connected=False, said="refused")}, "Redis does not take entries: refused"),
        ({"outlet": OutletStatus(connected=True, spooled=5, spool_bytes=2**20)}, "5 entries (1.0 MB) wait on disk"),
        ({"outlet": OutletStatus(connected=True, refused=3)}, "3 entries were refused by Redis for good"),
        ({"outlet": OutletStatus(connected=True, damaged=1)}, "1 pieces of the spool could not be read"),
        ({"outlet": OutletStatus(connected=True, untold=2)}, "2 events of md.gaps were let go"),
        ({"bars": BarsStatus(connected=False, spooled=4, said="away")}, "4 closed bars wait on disk for MySQL: away"),
        (
            {"books": (BookStatus(market="um", symbol="A/USDT:USDT", state="stale"),)},
            "1 book is not live: A/USDT:USDT",
        ),
        ({"streams": (stream(silent=True),)}, "1 stream is silent: trades A/USDT"),
        ({"streams": ()}, "nothing is streamed"),
        (
            {"lanes": (LaneStatus(market="um", route="", state="waiting", streams=1),)},
            "2 um streams are on no open connection",
        ),
        (
            {"markets": (MarketStatus(market="um", halted_until_ms=AT_MS + 1),)},
            "the exchange refuses um requests",
        ),
    ],
)
def test_what_must_be_seen_to_is_said(change: dict[str, Any], said: str) -> None:
    found = problems(status(**change))
    assert len(found) == 1
    assert said in found[0]


def test_a_connection_that_is_made_beside_one_that_carries_its_streams_is_no_problem() -> None:
    old, new = (LaneStatus(market="um", route="", state=state, streams=2) for state in ("open", "connecting"))
    assert problems(status(lanes=(old, new))) == []
    assert problems(status(lanes=(new,))) == ["2 um streams are on no open connection"]
    assert problems(status(lanes=())) == ["2 um streams are on no open connection"]


def test_many_of_a_kind_are_counted_and_the_first_named() -> None:
    books = tuple(BookStatus(market="um", symbol=f"C{n}", state="buffering") for n in range(9))
    assert problems(status(books=books)) == ["9 books are not live: C0, C1, C2, C3, C4 and 4 more"]


def test_a_shard_that_is_not_at_work_is_a_problem() -> None:
    assert missing_shards(["0/4", "3/4", "1/4"]) == ["shard 2/4 is not at work: its symbols are not streamed"]
    assert missing_shards(["0/1"]) == []
    assert missing_shards(["0/1", "0/2", "1/2"]) == [], "during a change both divisions may be there"
    (nobody,) = verdict([])
    assert nobody.startswith("no streamer tells of itself: ")
    assert verdict([status(shard="0/2")]) == ["shard 1/2 is not at work: its symbols are not streamed"]


def test_what_is_worst_comes_first() -> None:
    well, busy, lost, silent = stream("w"), stream("b", rate_per_s=9), stream("l", lost=1), stream("s", silent=True)
    assert [each.symbol for each in worst_first([well, busy, lost, silent])] == ["s", "l", "b", "w"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(40, "for 40 s,"), (400, "for 6 min 40 s,"), (3_700, "for 1 h 1 min,"), (90_000, "for 1 d 1 h,")],
)
def test_people_read_how_long_it_runs(seconds: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    show([status(started_ms=AT_MS - seconds * 1000)])
    assert said in capsys.readouterr().out.splitlines()[0]


def test_people_read_what_became_of_missing_trades(capsys: pytest.CaptureFixture[str]) -> None:
    show([status(streams=(stream(filled=1_488, lost=2), stream("B/USDT", filled=2, holes_open=1)))])
    told = capsys.readouterr().out
    assert "trades that were missing: 1,490 brought by REST, 2 lost; 1 holes open" in told
    assert "p50 0.4 ms, p99 2 ms; shed: depth 1" in told
    assert "events told in md.gaps: hole 1" in told
