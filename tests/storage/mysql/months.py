"""Months for the tests of how they leave: a table filled, and what stands in it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, localcontext

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import decimal_text
from gapless.domain.totals import SeriesKey, SeriesTotals
from gapless.domain.window import Window
from gapless.storage.mysql import Draft, MySql, Outcome, Scope, load_rows
from gapless.storage.mysql.partitions import Month
from tests.storage.mysql.bars import make_bars
from tests.storage.mysql.rows import make_rows

JULY = Month(2026, 7)
PERPS = ["ETH/USDT:USDT", "1000币安人生/USDT:USDT", "BTC/USDT:USDT"]
FIRST_HOURS = Window.of("2026-07-01", "2026-07-01T03:00")


def fill(db: MySql, dataset: Dataset, rows: pa.Table, *, key: str = "0123456789abcdef") -> Outcome:
    """Load rows of one market in one batch."""
    shape = SHAPES[dataset]
    times = rows["ts"].cast(pa.int64())
    draft = Draft(
        batch_key=key,
        exchange="binance",
        market=Market.UM if ":" in rows["symbol"][0].as_py() else Market.SPOT,
        window=Window(pc.min(times).as_py(), pc.max(times).as_py() + 1),
        scope=Scope.of({(symbol, "") for symbol in rows["symbol"].to_pylist()}),
        complete=True,
        digest=key.ljust(64, "0"),
        dataset=f"test:{dataset}",
    )
    return load_rows(db, shape, rows, draft)


def july(dataset: Dataset, *, seed: int = 0) -> pa.Table:
    """A few rows of July, some with blanks, some symbols not ASCII."""
    if dataset is Dataset.OHLCV:
        return make_bars(PERPS, FIRST_HOURS, [Interval.M1, Interval.H1], seed=seed)
    window = Window.of("2026-07-01", "2026-07-03")
    rows = make_rows(dataset, PERPS, window, seed=seed)
    blank = {Dataset.FUNDING: "mark_price", Dataset.METRICS: "top_account_ratio"}[dataset]
    some = make_rows(dataset, ["NIL/USDT:USDT"], window, seed=seed, blanks=[blank])
    place = rows.schema.get_field_index(blank)
    values = rows[blank].to_pylist()
    values[::3] = [None] * len(values[::3])
    rows = rows.set_column(place, rows.schema.field(blank), pa.array(values, rows.schema.field(blank).type))
    return pa.concat_tables([some, rows])


def in_order(dataset: Dataset, rows: pa.Table) -> pa.Table:
    """Canonical order."""
    return rows.sort_by([(name, "ascending") for name in SHAPES[dataset].key]).combine_chunks()


def totals_by_hand(dataset: Dataset, rows: pa.Table) -> dict[SeriesKey, SeriesTotals]:
    """What `SeriesTotals` means, added up row by row in Python."""
    shape = SHAPES[dataset]
    found: dict[SeriesKey, list[dict[str, object]]] = {}
    columns = {
        name: (rows[name].cast(pa.int64()) if pa.types.is_timestamp(rows[name].type) else rows[name]).to_pylist()
        for name in rows.schema.names
    }
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        label = str(row[shape.label]) if shape.label else ""
        found.setdefault((str(row["exchange"]), str(row["symbol"]), label), []).append(row)
    totals = {}
    for key, of in found.items():
        times = [int(str(row["ts"])) for row in of]
        known = {name: [Decimal(str(row[name])) for row in of if row[name] is not None] for name in shape.values}
        with localcontext(prec=100):
            sums = tuple(sum(values, Decimal(0)) for values in known.values())
        totals[key] = SeriesTotals(
            rows=len(of),
            first_ms=min(times),
            last_ms=max(times),
            ts_seconds=sum(times) // 1000,
            counts=tuple(len(values) for values in known.values()),
            sums=sums,
        )
    return totals


def texts(rows: pa.Table) -> list[tuple[object, ...]]:
    """Rows as exact text."""
    return list(zip(*(decimal_text(rows[name]).to_pylist() for name in rows.schema.names), strict=True))


def held(db: MySql, source: str) -> int:
    """How many rows stand in a table or a partition of it."""
    return db.run("counting", lambda c: int(c.scalar(text(f"SELECT COUNT(*) FROM {source}")) or 0))


def by_symbol(rows: pa.Table) -> Counter[str]:
    """How many rows each symbol has."""
    return Counter(rows["symbol"].to_pylist())
