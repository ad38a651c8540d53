"""Which hours a series lacks, and how work is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, HOUR_MS, Window, merge
from gapless.pipeline.batches import BATCH_ROWS, by_window, cut, missing_windows
from gapless.storage.mysql import Coverage

DAY = Window.of("2026-11-20", "2026-11-21")
ALL = frozenset(ALL_INTERVALS)


def hours(first: int, last: int) -> Window:
    return Window(DAY.start_ms + first * HOUR_MS, DAY.start_ms + last * HOUR_MS)


def instruments(count: int) -> list[Instrument]:
    return [
        Instrument("binance", f"C{n}/USDT:USDT", Market.UM, f"C{n}USDT", f"C{n}", "USDT", "TRADING")
        for n in range(count)
    ]


def test_without_receipts_everything_is_missing_in_one_piece() -> None:
    assert missing_windows(DAY, ["A", "B"], ALL_INTERVALS, []) == {(DAY,): ["A", "B"]}


def test_symbols_with_the_same_holes_stand_together_and_complete_ones_are_left_out() -> None:
    receipts = [
        Coverage(hours(0, 20), frozenset("ABC"), ALL),
        Coverage(hours(20, 22), frozenset("BC"), ALL),
        Coverage(hours(22, 24), frozenset("ABC"), ALL),
    ]
    assert missing_windows(DAY, "ABCD", ALL_INTERVALS, receipts) == {(hours(20, 22),): ["A"], (DAY,): ["D"]}


def test_a_receipt_of_fewer_intervals_covers_nothing_and_of_more_covers_all() -> None:
    some = Coverage(DAY, frozenset("A"), frozenset(["1m", "5m"]))
    assert missing_windows(DAY, "A", ALL_INTERVALS, [some]) == {(DAY,): ["A"]}
    assert missing_windows(DAY, "A", [Interval.M1], [some]) == {}


def test_an_hour_covered_in_part_is_missing_whole() -> None:
    part = Coverage(Window(DAY.start_ms, DAY.start_ms + HOUR_MS // 2), frozenset("A"), ALL)
    assert missing_windows(hours(0, 2), "A", ALL_INTERVALS, [part]) == {(hours(0, 2),): ["A"]}


@given(
    st.integers(1, 700), st.integers(1, 24 * 9), st.integers(0, 23), st.sampled_from([ALL_INTERVALS, (Interval.H1,)])
)
def test_batches_hold_every_series_and_hour_once_and_stay_small(
    count: int, length: int, first: int, intervals: tuple[Interval, ...]
) -> None:
    window = Window(DAY.start_ms + first * HOUR_MS, DAY.start_ms + (first + length) * HOUR_MS)
    listed = instruments(count)
    batches = cut(Market.UM, listed, intervals, window)
    for pieces in by_symbol(batches).values():
        assert merge(pieces) == [window]
        assert sum(piece.length_ms for piece in pieces) == window.length_ms
    assert set(by_symbol(batches)) == {instrument.symbol for instrument in listed}
    for batch in batches:
        rows = sum(len(interval.completing(batch.window)) for interval in batch.intervals) * len(batch.symbols)
        assert rows <= BATCH_ROWS * 1.01 or len(batch.symbols) == 1


def by_symbol(batches: list) -> dict[str, list[Window]]:
    found: dict[str, list[Window]] = {}
    for batch in batches:
        for symbol, _ in batch.symbols:
            found.setdefault(symbol, []).append(batch.window)
    return found


def test_one_hour_of_600_perpetuals_is_two_batches_of_the_same_window() -> None:
    batches = cut(Market.UM, instruments(600), ALL_INTERVALS, hours(3, 4))
    assert [len(batch.symbols) for batch in batches] == [300, 300]
    assert [(window, len(some)) for window, some in by_window(batches)] == [(hours(3, 4), 2)]


def test_a_batch_is_known_by_what_it_is() -> None:
    one, same, other = (cut(Market.UM, instruments(2), ALL_INTERVALS, hours(h, h + 1))[0] for h in (3, 3, 4))
    assert one.key == same.key != other.key
    assert len(one.key) == 16
    assert "C0/USDT:USDT" in str(one)


def test_a_long_window_is_cut_at_midnights() -> None:
    batches = cut(Market.UM, instruments(300), ALL_INTERVALS, Window(DAY.start_ms + HOUR_MS, DAY.end_ms + 2 * DAY_MS))
    starts = sorted({batch.start_ms for batch in batches})
    assert all(start % DAY_MS == 0 for start in starts[1:])
