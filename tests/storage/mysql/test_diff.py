"""The comparison that decides what is written, against a plain dictionary."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_KEY, OHLCV_VALUES, Source, knowledge, sort_bars
from gapless.errors import ValidationError
from gapless.storage.mysql.diff import diff, rows_to_write
from gapless.storage.mysql.prepare import prepare
from tests.storage.mysql.bars import DAY, HOUR, make_bars, with_source, with_value

KEYS = st.tuples(
    st.sampled_from(["BTC/USDT", "ETH/USDT", "币安人生/USDT"]),
    st.sampled_from([str(interval) for interval in Interval]),
    st.integers(0, 3),
)
BARS = st.dictionaries(KEYS, st.tuples(st.integers(0, 2), st.sampled_from(list(Source))), max_size=25)


def _table(bars: dict[tuple[str, str, int], tuple[int, Source]]) -> pa.Table:
    rows = [
        {
            "exchange": "binance",
            "symbol": symbol,
            "interval": interval,
            "ts": DAY.start_ms + step * Interval(interval).ms,
            **{name: value if name == "trades" else Decimal(value).scaleb(-8) for name in OHLCV_VALUES},
            "source": int(source),
        }
        for (symbol, interval, step), (value, source) in bars.items()
    ]
    return pa.Table.from_pylist(rows, schema=OHLCV)


def _keys(table: pa.Table) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in table.select(list(OHLCV_KEY)).to_pylist()]


@settings(max_examples=200, deadline=None)
@given(offered=BARS.filter(bool), stored=BARS)
def test_each_bar_meets_the_fate_a_dictionary_says(
    offered: dict[tuple[str, str, int], tuple[int, Source]], stored: dict[tuple[str, str, int], tuple[int, Source]]
) -> None:
    ready = prepare(_table(offered), "test").table
    held = _table(stored)
    found = diff(ready, held)
    fates: dict[str, set[tuple[str, str, int]]] = {name: set() for name in ("fresh", "restated", "confirmed", "rest")}
    unchanged = outranked = 0
    for key, (value, source) in offered.items():
        if key not in stored:
            fates["fresh"].add(key)
            continue
        old_value, old_source = stored[key]
        if value == old_value:
            unchanged += 1
            fates["confirmed" if knowledge(source) > knowledge(old_source) else "rest"].add(key)
        elif knowledge(source) < knowledge(old_source):
            outranked += 1
        else:
            fates["restated"].add(key)
    for name in ("fresh", "restated", "confirmed"):
        rows = ready.take(pa.array(getattr(found, name)))
        assert sorted(_keys(rows)) == sorted(_keys(_table({key: offered[key] for key in fates[name]})))
    assert (found.unchanged, found.outranked) == (unchanged, outranked)
    assert len(found.fresh) + len(found.restated) + found.unchanged + found.outranked == len(offered)
    pairs = (ready.take(pa.array(found.restated)), held.take(pa.array(found.restated_old)))
    assert _keys(pairs[0]) == _keys(pairs[1])
    assert list(found.written) == sorted(found.written)


@pytest.mark.parametrize("name", OHLCV_VALUES)
def test_a_difference_in_any_value_is_seen(name: str) -> None:
    bars = make_bars(["BTC/USDT"], HOUR)
    changed = with_value(bars, 7, name, 7 if name == "trades" else Decimal("123456789012.00000001"))
    found = diff(prepare(changed, "test").table, bars)
    assert list(found.restated) == [7]
    assert list(found.restated_old) == [7]


def test_the_last_digit_of_a_long_number_counts() -> None:
    bars = with_value(make_bars(["BTC/USDT"], HOUR), 0, "volume", Decimal("99999999999999999999.99999998"))
    changed = with_value(bars, 0, "volume", Decimal("99999999999999999999.99999999"))
    assert len(diff(prepare(changed, "test").table, bars).restated) == 1


def test_sliced_tables_compare_their_own_rows() -> None:
    bars = make_bars(["BTC/USDT"], DAY)
    found = diff(prepare(bars.slice(100, 50), "test").table, bars.slice(90, 100))
    assert (found.unchanged, len(found.written)) == (50, 0)


def test_unsorted_bars_are_put_into_key_order() -> None:
    bars = make_bars(["ETH/USDT", "BTC/USDT"], HOUR, [Interval.M1, Interval.M15, Interval.H1])
    shuffled = bars.take(pa.array(list(range(bars.num_rows))[::-1]))
    ready = prepare(shuffled, "test")
    assert sort_bars(ready.table).equals(bars)
    assert ready.table["interval"].to_pylist()[:61] == ["1m"] * 60 + ["15m"]  # the table's order, shortest first
    assert ready.days == (DAY.start_ms,)


def test_a_bar_offered_twice_is_refused_by_name() -> None:
    bars = make_bars(["BTC/USDT", "ETH/USDT"], HOUR)
    twice = pa.concat_tables([bars, bars.slice(70, 1)])
    with pytest.raises(ValidationError, match=r"BTC spot: ETH/USDT 1m 2026-11-19T10:10:00Z comes twice"):
        prepare(twice, "BTC spot")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bars: bars.drop_columns(["trades"]), "canonical columns"),
        (lambda bars: with_value(bars, 0, "exchange", "okx"), "one exchange and one market"),
        (lambda bars: with_value(bars, 0, "symbol", "BTC/USDT:USDT"), "one exchange and one market"),
        (lambda bars: with_value(bars, 0, "interval", "1M"), "unknown interval '1M'"),
        (lambda bars: with_value(bars, 0, "source", 99), "unknown source code 99"),
        (lambda bars: with_value(bars, 0, "ts", DAY.start_ms + 1), "whole second"),
        (lambda bars: with_value(bars, 0, "ts", -60_000), "whole second since 1970"),
        (lambda bars: with_value(bars, 0, "symbol", "BTC/USDT "), "not a unified symbol"),
        (lambda bars: with_value(bars, 0, "symbol", "A" * 40 + "/USDT"), "not a unified symbol"),
    ],
)
def test_what_the_table_cannot_hold_is_refused_early(change: Callable[[pa.Table], pa.Table], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        prepare(change(make_bars(["BTC/USDT"], HOUR)), "test")


def test_raw_symbols_are_refused() -> None:
    with pytest.raises(ValidationError, match="not a unified symbol"):
        prepare(make_bars(["BTCUSDT"], HOUR), "test")


def test_a_stream_bar_never_replaces_a_settled_one() -> None:
    settled = make_bars(["BTC/USDT"], HOUR, source=Source.REST)
    offered = make_bars(["BTC/USDT"], HOUR, seed=1, source=Source.STREAM)
    found = diff(prepare(offered, "test").table, settled)
    assert (found.outranked, len(found.written)) == (60, 0)
    confirmed = diff(prepare(settled, "test").table, with_source(settled, Source.STREAM))
    assert (confirmed.unchanged, len(confirmed.confirmed), confirmed.replaced) == (60, 60, 60)


METRICS = SHAPES[Dataset.METRICS]
CELLS = st.tuples(*[st.sampled_from([None, 0, 1])] * 2, st.sampled_from(list(Source)))
METRIC_ROWS = st.dictionaries(st.integers(0, 5), CELLS, max_size=6)


def _metrics(rows: dict[int, tuple[int | None, int | None, Source]]) -> pa.Table:
    cells = [
        {
            "exchange": "binance",
            "symbol": "BTC/USDT:USDT",
            "ts": DAY.start_ms + at * 300_000,
            "open_interest": None if first is None else Decimal(first),
            "global_account_ratio": None if second is None else Decimal(second),
            "source": int(source),
        }
        for at, (first, second, source) in rows.items()
    ]
    return pa.Table.from_pylist(cells, schema=METRICS.schema)


@settings(max_examples=200, deadline=None)
@given(offered=METRIC_ROWS.filter(bool), stored=METRIC_ROWS)
def test_nulls_are_filled_and_disagree_with_nothing(
    offered: dict[int, tuple[int | None, int | None, Source]], stored: dict[int, tuple[int | None, int | None, Source]]
) -> None:
    ready, held = prepare(_metrics(offered), "test", METRICS).table, _metrics(stored)
    found = diff(ready, held, "test", METRICS)
    written = rows_to_write(ready, held, found, "test", METRICS)
    after = {**{at: stored[at] for at in stored}}
    counts = {"fresh": 0, "restated": 0, "refused": 0, "filled": 0, "unchanged": 0}
    for at, (*new, source) in offered.items():
        if at not in stored:
            counts["fresh"] += 1
            after[at] = offered[at]
            continue
        *old, old_source = stored[at]
        lower = knowledge(source) < knowledge(old_source)
        pairs = list(zip(new, old, strict=True))
        differs = any(None not in pair and pair[0] != pair[1] for pair in pairs)
        fills = any(ours is not None and theirs is None for ours, theirs in pairs)
        counts["restated"] += differs and not lower
        counts["refused"] += differs and lower
        counts["filled"] += fills and not (differs and not lower)
        counts["unchanged"] += not differs
        better = [(theirs, ours) if lower else (ours, theirs) for ours, theirs in pairs]
        first, second = (second if first is None else first for first, second in better)
        after[at] = (first, second, old_source if lower else source)
    # The table that stands after the write is the one the rules give, and nothing is written that stood already.
    changed = {at: row for at, row in after.items() if at not in stored or stored[at] != row}
    assert written.schema == METRICS.schema
    assert written.to_pylist() == _metrics(dict(sorted(changed.items()))).to_pylist()
    sizes = {name: len(getattr(found, name)) for name in ("fresh", "restated", "refused", "filled")}
    assert sizes | {"unchanged": found.unchanged} == counts
    assert found.replaced == len(changed) - counts["fresh"]
    # Whatever was decided, the same offer again changes nothing.
    again = diff(ready, _metrics(after), "test", METRICS)
    assert (len(again.written), again.outranked) == (0, counts["refused"])
