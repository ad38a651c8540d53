"""Instruments and their lives on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.mysql import insert

from gapless.domain.instrument import Instrument, Market, market_of
from gapless.errors import NotFound
from gapless.storage.mysql.books import instrument as instrument_table
from gapless.storage.mysql.books import instrument_life, moment, moment_or_none, ms_of
from gapless.storage.mysql.lives import Known, Life, archived, learn, merge_listing
from gapless.storage.mysql.server import MySql

_UNKNOWN_MS = 0  # instrument_life.listed_at where the exchange does not say: part of a key, it cannot be NULL


def record_listing(
    db: MySql, exchange: str, market: Market, listing: Sequence[Instrument], *, now_ms: int
) -> list[Instrument]:
    """Take in the whole list of a market's instruments; returns all that are on record for it now, by symbol.

    Instruments that are no longer listed stay, with their end (`gapless.storage.mysql.lives.merge_listing` has the
    rules). Repeating it changes nothing but `seen_at`.

    Args:
        listing: every instrument that the exchange lists on this market now.
        now_ms: the exchange's clock.

    Raises:
        ValidationError: the listing is empty or names an instrument twice.
        StorageError: the server did not take it for as long as retries last.
    """

    return _change(
        db,
        exchange,
        market,
        f"recording the instruments of {exchange} {market}",
        lambda known: merge_listing(known, listing, now_ms),
    )


def record_archived(db: MySql, instruments: Sequence[Instrument]) -> None:
    """Take in instruments that the archive has and no listing names: dead before we ever asked.

    Unknown ones are entered as delisted (`gapless.storage.mysql.lives.VANISHED`) with the dates they come with; what is
    on record stays as it is.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    groups: dict[tuple[str, Market], list[Instrument]] = defaultdict(list)
    for instrument in instruments:
        groups[instrument.exchange, instrument.market].append(instrument)
    for (exchange, market), group in sorted(groups.items()):
        offered = {instrument.symbol: archived(instrument) for instrument in reversed(group)}
        what = f"recording {len(offered)} archived instruments of {exchange} {market}"
        _change(db, exchange, market, what, partial(_beside, offered))


def _beside(offered: Mapping[str, Known], known: Mapping[str, Known]) -> dict[str, Known]:
    return {**offered, **known}


def learn_lifetime(
    db: MySql, exchange: str, symbol: str, *, listed_ms: int | None = None, delisted_ms: int | None = None
) -> None:
    """Fill in unknown dates of an instrument's last life, as its first or last bar tells them; known ones never move.

    Args:
        listed_ms: first moment of its life. delisted_ms: end of it.

    Raises:
        NotFound: there is no such instrument on record.
        ValidationError: the dates contradict what is known, or an instrument that trades would have ended.
        StorageError: the server did not take it for as long as retries last.
    """
    market = market_of(symbol)

    def change(known: dict[str, Known]) -> dict[str, Known]:
        if symbol not in known:
            raise NotFound(f"{exchange} {symbol} is not on record: record the exchange's listing first")
        return {**known, symbol: learn(known[symbol], listed_ms, delisted_ms)}

    if market is None:
        raise NotFound(f"{exchange} {symbol} is no unified symbol: write BTC/USDT or BTC/USDT:USDT")
    _change(db, exchange, market, f"learning the lifetime of {exchange} {symbol}", change, symbol)


def _change(
    db: MySql,
    exchange: str,
    market: Market,
    what: str,
    change: Callable[[dict[str, Known]], dict[str, Known]],
    symbol: str | None = None,
) -> list[Instrument]:
    """Change what is known of a market's instruments, or of one of them, one change at a time; what is known then."""

    def attempt() -> list[Instrument]:
        with db.named_locks([f"instrument:{exchange}:{market}"]) as connection, connection.begin():
            known = _read_known(connection, exchange, market, symbol)
            merged = change(known)
            _store(connection, exchange, known, merged)
        return [merged[symbol].instrument for symbol in sorted(merged)]

    return db.retry(what, attempt)


def read_instruments(db: MySql, exchange: str, market: Market | None = None) -> list[Instrument]:
    """The instruments on record, delisted ones included, by symbol; of one market or of all."""
    found = db.run("reading the instruments", lambda connection: _read_known(connection, exchange, market))
    return [found[symbol].instrument for symbol in sorted(found)]


def last_seen_ms(db: MySql, exchange: str, market: Market) -> int | None:
    """When a market's list of instruments was last taken in, by the exchange's clock; None when it never was."""
    table = instrument_table.c
    statement = select(func.max(table.seen_at)).where(table.exchange == exchange, table.market == str(market))
    seen = db.run("reading when instruments were last listed", lambda connection: connection.scalar(statement))
    return _ms(seen)


def read_lives(db: MySql, exchange: str, market: Market | None = None) -> dict[str, tuple[Life, ...]]:
    """The lives of each instrument on record, oldest first, by symbol."""
    found = db.run("reading the instruments", lambda connection: _read_known(connection, exchange, market))
    return {symbol: found[symbol].lives for symbol in sorted(found)}


def _read_known(
    connection: Connection, exchange: str, market: Market | None, symbol: str | None = None
) -> dict[str, Known]:
    life, table = instrument_life.c, instrument_table.c
    lives: dict[str, list[Life]] = defaultdict(list)
    rows = select(instrument_life).where(life.exchange == exchange).order_by(life.symbol, life.listed_at)
    if symbol is not None:
        rows = rows.where(life.symbol == symbol)
    for row in connection.execute(rows).mappings():
        listed_ms = ms_of(row["listed_at"])
        lives[row["symbol"]].append(
            Life(row["raw_symbol"], None if listed_ms == _UNKNOWN_MS else listed_ms, _ms(row["delisted_at"]))
        )
    statement = select(instrument_table).where(table.exchange == exchange)
    if market is not None:
        statement = statement.where(table.market == str(market))
    if symbol is not None:
        statement = statement.where(table.symbol == symbol)
    known = {}
    for row in connection.execute(statement).mappings():
        one = Instrument(
            exchange=row["exchange"],
            symbol=row["symbol"],
            market=Market(row["market"]),
            raw_symbol=row["raw_symbol"],
            base=row["base"],
            quote=row["quote"],
            status=row["status"],
            tick_size=_plain(row["tick_size"]),
            step_size=_plain(row["step_size"]),
            contract_multiplier=row["contract_multiplier"],
            listed_ms=_ms(row["listed_at"]),
            delisted_ms=_ms(row["delisted_at"]),
        )
        known[one.symbol] = Known(one, ms_of(row["seen_at"]), tuple(lives[one.symbol]))
    return known


def _store(connection: Connection, exchange: str, known: dict[str, Known], merged: dict[str, Known]) -> None:
    changed = [merged[symbol] for symbol in sorted(merged) if merged[symbol] != known.get(symbol)]
    rows = [_row(entry) for entry in changed]
    if rows:
        statement = insert(instrument_table)
        names = [column.name for column in instrument_table.columns if not column.primary_key]
        connection.execute(statement.on_duplicate_key_update({name: statement.inserted[name] for name in names}), rows)
    relived = [
        entry for entry in changed if (old := known.get(entry.instrument.symbol)) is None or old.lives != entry.lives
    ]
    symbols = [entry.instrument.symbol for entry in relived]
    if not symbols:
        return
    # A life's beginning is part of its key, and it may have been learnt or corrected: the lives are written anew.
    life = instrument_life.c
    connection.execute(delete(instrument_life).where(life.exchange == exchange, life.symbol.in_(symbols)))
    connection.execute(
        instrument_life.insert(),
        [
            {
                "exchange": exchange,
                "symbol": entry.instrument.symbol,
                "listed_at": moment(one.listed_ms if one.listed_ms is not None else _UNKNOWN_MS),
                "raw_symbol": one.raw_symbol,
                "delisted_at": moment_or_none(one.delisted_ms),
            }
            for entry in relived
            for one in entry.lives
        ],
    )


def _row(entry: Known) -> dict[str, Any]:
    one = entry.instrument
    return {
        "exchange": one.exchange,
        "symbol": one.symbol,
        "market": str(one.market),
        "raw_symbol": one.raw_symbol,
        "base": one.base,
        "quote": one.quote,
        "status": one.status,
        "tick_size": one.tick_size,
        "step_size": one.step_size,
        "contract_multiplier": one.contract_multiplier,
        "listed_at": moment_or_none(one.listed_ms),
        "delisted_at": moment_or_none(one.delisted_ms),
        "seen_at": moment(entry.seen_ms),
    }


def _plain(stored: Decimal | None) -> Decimal | None:
    """Without the column's trailing zeros, and never in scientific notation."""
    return None if stored is None else Decimal(f"{stored.normalize():f}")


def _ms(stored: Any) -> int | None:
    return None if stored is None else ms_of(stored)
