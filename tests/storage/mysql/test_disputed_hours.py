"""Real downloads that disagree: five hours of BTC/USDT in 2020-2021, told one way by 5m bars and another by 1h bars."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, Source, content_digest
from gapless.domain.window import HOUR_MS, Window, parse_time
from gapless.storage.mysql import MySql, count_outranked, count_restatements, load_bars, read_bars
from tests.storage.mysql.bars import draft_for

DISPUTED = [
    parse_time(hour)
    for hour in ("2020-12-21T13:00", "2021-01-11T08:00", "2021-04-22T02:00", "2021-04-23T01:00", "2021-04-23T02:00")
]

Hours = dict[int, tuple[Decimal, ...]]


def _bars(file: Path) -> Hours:
    """`[ms, open, high, low, close, volume]`, floats: their shortest text is what the exchange sent."""
    return {row[0]: tuple(Decimal(repr(value)) for value in row[1:]) for row in json.loads(file.read_text())}


def _hours_of(fives: Hours) -> Hours:
    """Hours of which all twelve bars are there."""
    parts: dict[int, list[tuple[Decimal, ...]]] = defaultdict(list)
    for ts in sorted(fives):
        parts[ts - ts % HOUR_MS].append(fives[ts])
    return {
        hour: (
            bars[0][0],
            max(bar[1] for bar in bars),
            min(bar[2] for bar in bars),
            bars[-1][3],
            sum((bar[4] for bar in bars), Decimal(0)),
        )
        for hour, bars in parts.items()
        if len(bars) == 12
    }


def _table(hours: Hours, source: Source) -> pa.Table:
    """The recordings hold six columns; the others are the same in both readings."""
    kinds = {name: OHLCV.field(name).type for name in OHLCV.names}
    absent = ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
    columns = {name: pa.array([0] * len(hours), pa.int32()).cast(kinds[name]) for name in absent}
    columns |= {
        "exchange": pa.repeat("binance", len(hours)),
        "symbol": pa.repeat("BTC/USDT", len(hours)),
        "interval": pa.repeat("1h", len(hours)),
        "ts": pa.array(list(hours), pa.int64()).cast(kinds["ts"]),
        "source": pa.repeat(pa.scalar(int(source), pa.uint8()), len(hours)),
    }
    for place, name in enumerate(("open", "high", "low", "close", "volume")):
        columns[name] = pa.array([values[place] for values in hours.values()], kinds[name])
    return pa.table([columns[name] for name in OHLCV.names], schema=OHLCV)


@pytest.fixture(scope="module")
def readings(recordings: Path) -> tuple[Hours, Hours]:
    """The same hours, as 5m bars add up and as the 1h file has them."""
    added = _hours_of(_bars(recordings / "klines_5m" / "spot_ccxt_json" / "BTC_USDT-5m.json"))
    told = _bars(recordings / "klines_1h_4h_1d" / "spot_ccxt_json" / "BTC_USDT-1h.json")
    both = sorted(added.keys() & told.keys())
    return {hour: added[hour] for hour in both}, {hour: told[hour] for hour in both}


def test_exactly_five_hours_are_disputed(readings: tuple[Hours, Hours]) -> None:
    added, told = readings
    assert len(added) == 5476
    assert [hour for hour in added if added[hour] != told[hour]] == DISPUTED


@pytest.mark.parametrize("swapped", [False, True], ids=["1h is REST", "1h is the archive"])
def test_whichever_comes_first_rest_stands_and_the_books_say_what_was_disputed(
    mariadb_database: MySql, readings: tuple[Hours, Hours], swapped: bool
) -> None:
    rest_hours, vision_hours = readings if swapped else readings[::-1]
    rest, vision = _table(rest_hours, Source.REST), _table(vision_hours, Source.VISION)
    window = Window(min(rest_hours), max(rest_hours) + HOUR_MS)
    names = {int(Source.REST): "rest", int(Source.VISION): "vision"}
    for order in permutations([rest, vision]):
        with mariadb_database.engine.begin() as connection:
            for table in ("ohlcv", "restatement", "load_receipt"):
                connection.execute(text(f"DELETE FROM {table}"))
        outcomes = [
            load_bars(mariadb_database, bars, draft_for(bars, window, key=f"{bars['source'][0]}" * 16))
            for bars in order
        ]
        stored = read_bars(mariadb_database, ["BTC/USDT"], [Interval.H1], window)
        assert stored.equals(rest)
        assert content_digest(stored) == content_digest(rest)
        with mariadb_database.engine.connect() as connection:
            noted = connection.execute(
                text(
                    "SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', ts) * 1000, applied, old_source, new_source, "
                    "old_values, new_values FROM restatement ORDER BY ts"
                )
            ).all()
        late = order[1] is rest  # the better word came last: the bars were restated
        assert [row[0] for row in noted] == DISPUTED
        assert {row[1] for row in noted} == {int(late)}
        assert {(names[row[2]], names[row[3]]) for row in noted} == {("vision", "rest") if late else ("rest", "vision")}
        for hour, _, _, _, old, new in noted:
            before, after = (vision_hours, rest_hours) if late else (rest_hours, vision_hours)
            assert Decimal(json.loads(old)["volume"]) == before[hour][4]
            assert Decimal(json.loads(new)["volume"]) == after[hour][4]
        assert (count_restatements if late else count_outranked)(mariadb_database) == {"mysql": 5}
        counts = outcomes[1].counts
        assert (counts.restated, counts.outranked) == ((5, 0) if late else (0, 5))
        assert counts.unchanged == len(rest_hours) - 5
