"""Keys and entries of the live Streams: a reader gets what the writer said, and what is garbled is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.live import (
    GAPS_KEY,
    MARKET_KINDS,
    Entry,
    GapEvent,
    Kind,
    entry_of,
    fields_of,
    gap_fields,
    gap_of,
    parse_stream_key,
    stream_key,
)
from gapless.errors import ValidationError

_symbols = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=32)
_texts = st.text(st.characters(codec="utf-8"), max_size=60)
_ids = st.builds(lambda ms, seq: f"{ms}-{seq}", st.integers(0, 2**63), st.integers(0, 2**63))
_entries = st.builds(
    Entry,
    kind=st.sampled_from(MARKET_KINDS),
    exchange=st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    symbol=_symbols,
    stream_id=_ids,
    event_ms=st.integers(0, 4_102_444_799_999),
    received_ns=st.integers(0, 2**62),
    identity=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    payload=st.binary(max_size=100).map(lambda inner: b"{" + inner + b"}"),
)


def on_the_wire(fields: dict[str, str] | dict[str, str | bytes]) -> dict[bytes, bytes]:
    return {name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in fields.items()}


def good() -> dict[bytes, bytes]:
    return {b"e": b"1763654400123", b"r": b"1763654400125000001", b"i": b"77", b"d": b'{"p":"0.10"}'}


def test_the_key_is_the_contracts() -> None:
    assert stream_key(Kind.TRADES, "binance", "BTC/USDT:USDT") == "md.trades.binance.BTC/USDT:USDT"
    assert GAPS_KEY == "md.gaps"


@given(_entries)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    key = stream_key(entry.kind, entry.exchange, entry.symbol)
    assert parse_stream_key(key) == (entry.kind, entry.exchange, entry.symbol)
    assert entry_of(key, entry.stream_id, on_the_wire(fields_of(entry))) == entry
    assert entry.hour_ms <= entry.event_ms < entry.hour_ms + 3_600_000


@given(
    st.builds(
        GapEvent,
        kind=st.sampled_from(MARKET_KINDS),
        exchange=st.just("binance"),
        symbol=_symbols,
        reason=_texts,
        from_id=_ids | st.just(""),
        to_id=_ids | st.just(""),
        count=st.integers(-1, 2**40),
        at_ms=st.integers(0, 4_102_444_799_999),
        repaired=st.booleans(),
        detail=_texts,
    )
)
def test_a_gap_is_read_as_it_was_told_and_is_an_entry_too(gap: GapEvent) -> None:
    fields = on_the_wire(gap_fields(gap))
    assert gap_of("1-0", fields) == gap
    entry = entry_of(GAPS_KEY, "1-0", fields)
    assert (entry.kind, entry.exchange, entry.symbol, entry.event_ms) == (Kind.GAPS, "binance", gap.symbol, gap.at_ms)


@pytest.mark.parametrize(
    "key",
    ["", "md", "md.gaps", "md.trades", "md.trades.binance", "md.trades.binance.", "md.nonsense.binance.BTC/USDT",
     "md.gaps.binance.BTC/USDT", "md.trades.../x.BTC/USDT", "md.trades.BINANCE.BTC/USDT", "ts.trades.binance.BTC/USDT",
     "md.trades.binance.BTC\n", "md.trades.binance." + "B" * 33],
)  # fmt: skip
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=r"docs/redis\.md"):
        parse_stream_key(key)


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"e", None), (b"r", None), (b"i", None), (b"d", None), (b"e", b"1.5"), (b"e", b""), (b"e", b"-1"),
     (b"e", b"1763654400123000"), (b"e", "١٢".encode()), (b"r", b"now"), (b"i", b""), (b"i", b"\xff"),
     (b"i", b"7" * 201), (b"d", b""), (b"d", b"[1]"), (b"d", b'{"p":"0.1"')],
)  # fmt: skip
def test_a_garbled_entry_is_named_by_stream_and_id(field: bytes, value: bytes | None) -> None:
    fields = good()
    if value is None:
        del fields[field]
    else:
        fields[field] = value
    with pytest.raises(ValidationError, match=r"entry 5-1 of md\.trades\.binance\.BTC/USDT"):
        entry_of("md.trades.binance.BTC/USDT", "5-1", fields)


def test_what_else_stands_in_an_entry_does_not_matter() -> None:
    fields = good()
    assert entry_of("md.trades.binance.BTC/USDT", "5-1", fields | {b"x": b"\xff"}) == entry_of(
        "md.trades.binance.BTC/USDT", "5-1", fields
    )
