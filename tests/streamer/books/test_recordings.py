"""The books of real markets, rebuilt from what was recorded, against the best prices that were recorded beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth
from streamer.books.outcome import BookState, Outcome
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync
from tests.streamer.books.oracle import unread
from tests.streamer.books.recorded import Event, Ticker, cryptofeed, hftbacktest, trx_spot, trx_um


@dataclass
class Replay:
    """What a recording made of a book."""

    sync: BookSync
    applied: int = 0
    equal: int = 0
    compared: int = 0
    silent: int = 0
    differing: list[tuple[int, object]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


WHOLE = 100_000
"""As if the snapshot had held all levels: the levels beyond its range are then believed too."""


def replay(market: Market, events: Sequence[Event], levels: int = 1000) -> Replay:
    """After each diff of a live book: is its top the book ticker that was the latest at its update id?

    Only what the book claims to know is compared: a side that has left the snapshot's range says nothing. The two
    streams overtake each other, so the ticker that counts is the newest with an id not above the diff's.
    """
    sync = BookSync(market, BookSettings(depth=1000 if levels == 1000 else 100_000))
    done = Replay(sync)
    tickers = sorted((event for event in events if isinstance(event, Ticker)), key=lambda ticker: ticker.u)
    at = 0
    for event in events:
        if isinstance(event, Snapshot):
            done.outcomes.append(sync.snapshot(event, levels, 0))
        elif isinstance(event, Depth):
            if not sync.regular(*unread(event), 0):
                done.outcomes.append(sync.take(event, b"", 0, 0))
            if sync.state is not BookState.LIVE:
                continue
            done.applied += 1
            while at + 1 < len(tickers) and tickers[at + 1].u <= sync.id:
                at += 1
            if tickers and tickers[at].u <= sync.id:
                done.compared += 1
                bids, asks, _ = sync.top(1, 0)
                _, b, bq, a, aq = tickers[at]
                done.silent += not bids or not asks
                if bids in ([], [(b, bq)]) and asks in ([], [(a, aq)]):
                    done.equal += 1
                else:
                    done.differing.append((sync.id, (bids, asks, tickers[at])))
    return done


def _sound(done: Replay) -> None:
    sync = done.sync
    assert sync.state is BookState.LIVE
    assert (sync.gaps, sync.duplicates, sync.crossings, sync.resyncs) == (0, 0, 0, 0)
    assert all(outcome.gaps == () for outcome in done.outcomes)


def _snapshot_first(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: not isinstance(event, Snapshot))


def test_spot_recording_gives_the_recorded_top_at_6491_of_6493_diffs(recordings: Path) -> None:
    folder = recordings / "ws_recordings" / "hftbacktest" / "spot"
    events = list(hftbacktest(folder / "btcusdt_20240808.gz", folder / "btcusdt_20240809.gz"))
    done = replay(Market.SPOT, _snapshot_first(events), WHOLE)
    _sound(done)
    assert (done.applied, done.silent) == (6493, 0)
    assert done.equal >= 6491, done.differing[:5]
    claimed = replay(Market.SPOT, events)
    _sound(claimed)
    assert claimed.equal >= claimed.compared - 2
    assert claimed.sync.id == done.sync.id


def test_usd_m_recording_gives_the_recorded_top_at_all_6547_diffs(recordings: Path) -> None:
    events = list(hftbacktest(recordings / "ws_recordings" / "hftbacktest" / "usdm" / "btcusdt_20240808.gz"))
    done = replay(Market.UM, _snapshot_first(events), WHOLE)
    _sound(done)
    assert (done.applied, done.equal, done.silent) == (6547, 6547, 0), done.differing[:5]
    claimed = replay(Market.UM, events)
    _sound(claimed)
    assert claimed.equal == claimed.compared
    assert claimed.sync.id == done.sync.id


@pytest.mark.parametrize(("market", "name"), [(Market.SPOT, "BINANCE"), (Market.UM, "BINANCE_FUTURES")])
def test_four_symbols_of_one_socket_all_join_and_keep_the_recorded_top(
    recordings: Path, market: Market, name: str
) -> None:
    by_symbol = cryptofeed(recordings / "ws_recordings" / "cryptofeed", name)
    assert len(by_symbol) == 4
    for symbol, events in by_symbol.items():
        done = replay(market, events)
        _sound(done)
        assert done.equal == done.compared, (symbol, done.differing[:5])
        assert done.applied >= 1, symbol


def test_trx_recordings_have_no_break_and_join_where_the_first_diff_ends_with_the_snapshot(recordings: Path) -> None:
    folder = recordings / "ws_recordings" / "trx_flat_csv"
    snapshot, diffs = trx_um(folder)
    assert diffs[0].u == snapshot.last_update_id
    done = replay(Market.UM, [snapshot, *diffs])
    _sound(done)
    assert done.applied == len(diffs) == 155
    spot = replay(Market.SPOT, trx_spot(folder))
    assert (spot.sync.state, spot.sync.gaps) == (BookState.BUFFERING, 0)
    assert sum(len(outcome.publish) for outcome in spot.outcomes) == 2833


def test_every_recorded_book_is_what_plain_arithmetic_makes_of_it(recordings: Path) -> None:
    """The whole book, not its top alone, at the end: against a dict of decimals that sees each level in turn."""
    path = recordings / "ws_recordings" / "hftbacktest" / "usdm" / "btcusdt_20240808.gz"
    events = list(hftbacktest(path))
    sync = replay(Market.UM, [event for event in events if not isinstance(event, Ticker)]).sync
    snapshot = next(event for event in events if isinstance(event, Snapshot))
    plain = {Decimal(price): Decimal(quantity) for price, quantity in snapshot.asks}
    for event in events:
        if isinstance(event, Depth) and event.u >= snapshot.last_update_id:
            plain.update((Decimal(price), Decimal(quantity)) for price, quantity in event.a)
    assert sync.book is not None
    known = Decimal(sync.book.asks.known_to or "Infinity")
    expected = sorted((price, quantity) for price, quantity in plain.items() if quantity and price <= known)
    assert [(Decimal(p), Decimal(q)) for p, q in sync.book.asks.all()] == expected
