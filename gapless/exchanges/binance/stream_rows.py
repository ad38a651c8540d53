"""Stream payloads of Binance -> canonical columns, exact or rejected with a reason. The only place that knows them.

A batch of payloads is read at once; where that fails, each is read by itself, so that one bad payload costs no other.
Fields we do not know are let go, fields we know must be there: `docs/decisions/0049-streams-as-hours.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.stream_columns import STREAM_SHAPES, StreamShape
from gapless.exchanges.binance.stream_values import ColumnRefused, exact_column
from gapless.exchanges.binance.streams.messages import KlineBar, Levels, Liquidation

_LEVEL = r'\["[0-9]{1,24}(?:\.[0-9]{1,24})?","[0-9]{1,24}(?:\.[0-9]{1,24})?"\]'
_LEVELS = rf"\A\[(?:{_LEVEL}(?:,{_LEVEL})*)?\]\z"
_FAR_MS = 86_400_000
"""A row whose time lies further from its event's than this is no row of that moment."""


class Received(Protocol):
    """What is needed of an entry of a Stream (`gapless.domain.live.Entry`)."""

    @property
    def symbol(self) -> str: ...
    @property
    def event_ms(self) -> int: ...
    @property
    def received_ns(self) -> int: ...
    @property
    def payload(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RejectedPayload:
    """A payload that could not be taken.

    Attributes:
        reason: `json` (not the object that this kind is), `fields` (one we know is missing or of another type),
            `symbol` (it is another instrument's), `time` (no moment near its event), `precision` (a column cannot hold
            the value exactly), `type` (not a number where one belongs).
    """

    symbol: str
    event_ms: int
    reason: str
    detail: str
    payload: bytes


class _Wire(msgspec.Struct, gc=False):
    e: str | None = None


class _Trade(_Wire, kw_only=True):  # over REST without e, E and s
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the exchange's name
    T: int
    m: bool
    s: str | None = None
    nq: str | None = None


class _Mark(_Wire, kw_only=True):
    E: int
    s: str
    p: str
    i: str
    P: str
    r: str
    T: int
    ap: str | None = None


class _Liquidation(_Wire, kw_only=True):
    o: Liquidation


class _Ticker(_Wire, kw_only=True):  # on spot without e, E and T
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    E: int | None = None
    T: int | None = None


class _Depth(_Wire, kw_only=True):  # on spot without T and pu
    E: int
    s: str
    U: int
    u: int
    b: msgspec.Raw
    a: msgspec.Raw
    T: int | None = None
    pu: int | None = None


class _Kline(_Wire, kw_only=True):
    E: int
    s: str
    k: KlineBar


@dataclass(frozen=True)
class _Form:
    """How payloads of a kind become columns: by column, where its value stands."""

    shape: StreamShape
    decode: Callable[[bytes], Any]
    event: str
    name: str
    columns: Mapping[str, str]


def _form(dataset: str, kind: type[_Wire], event: str, name: str = "s", **columns: str) -> _Form:
    return _Form(STREAM_SHAPES[dataset], msgspec.json.Decoder(kind).decode, event, name, columns)


_FORMS = {
    form.shape.dataset: form
    for form in (
        _form("trades", _Trade, "aggTrade", ts="T", trade_id="a", price="p", quantity="q", normal_quantity="nq",
              first_id="f", last_id="l", buyer_is_maker="m"),
        _form("mark_price", _Mark, "markPriceUpdate", ts="E", mark_price="p", mark_price_average="ap", index_price="i",
              estimated_settle_price="P", funding_rate="r", next_funding_ts="T"),
        _form("liquidations", _Liquidation, "forceOrder", "o.s", ts="o.T", side="o.S", order_type="o.o",
              time_in_force="o.f", quantity="o.q", price="o.p", average_price="o.ap", status="o.X",
              last_quantity="o.l", accumulated_quantity="o.z"),
        _form("book_ticker", _Ticker, "bookTicker", ts="E", update_id="u", bid_price="b", bid_quantity="B",
              ask_price="a", ask_quantity="A", transaction_ts="T"),
        _form("depth", _Depth, "depthUpdate", ts="E", first_update_id="U", final_update_id="u", previous_final_id="pu",
              bids="b", asks="a", transaction_ts="T"),
        _form("klines", _Kline, "kline", ts="E", interval="k.i", open_ts="k.t", closed="k.x", open="k.o", high="k.h",
              low="k.l", close="k.c", volume="k.v", quote_volume="k.q", trades="k.n", taker_buy_volume="k.V",
              taker_buy_quote_volume="k.Q", first_id="k.f", last_id="k.L"),
    )
}  # fmt: skip


def parse_stream(
    dataset: str, exchange: str, entries: Sequence[Received], raw_symbols: Mapping[str, str]
) -> tuple[pa.Table, list[RejectedPayload]]:
    """The rows of some entries of one kind, in their order, and the entries not taken.

    Nothing is sorted, and a row sent twice is there twice. A value that its column cannot hold exactly is not rounded
    but rejected. `sequence` of liquidations is 0: it is known only when a millisecond's rows are together.

    Args:
        dataset: of `STREAM_SHAPES`, all but `stream_gap`.
        raw_symbols: the exchange's own name of each entry's symbol, which its payload must carry if it names any.
    """
    rejected: list[RejectedPayload] = []
    tables = _halved(_FORMS[dataset], exchange, list(entries), raw_symbols, rejected)
    return pa.concat_tables([STREAM_SHAPES[dataset].schema.empty_table(), *tables]), rejected


def _halved(
    form: _Form,
    exchange: str,
    entries: Sequence[Received],
    raw_symbols: Mapping[str, str],
    rejected: list[RejectedPayload],
) -> Iterator[pa.Table]:
    """All at once, or in halves where that fails: the few bad ones are found in a few steps each."""
    try:
        if len(entries) > 1:
            rows = list(map(form.decode, map(attrgetter("payload"), entries)))
        else:
            rows = [_read(form, entry) for entry in entries]
        yield _table(form, exchange, entries, rows, raw_symbols)
    except (msgspec.DecodeError, ColumnRefused) as why:
        if len(entries) > 1:
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                yield from _halved(form, exchange, half, raw_symbols, rejected)
        elif isinstance(why, ColumnRefused):
            [bad] = entries
            rejected.append(RejectedPayload(bad.symbol, bad.event_ms, why.reason, why.detail, bad.payload))
        else:
            raise


def _read(form: _Form, entry: Received) -> Any:
    """One payload, its levels written without spaces.

    Raises:
        ColumnRefused: it is not in the form of its kind.
    """
    try:
        row = form.decode(entry.payload)
        if isinstance(row, _Depth):
            row.b, row.a = (msgspec.Raw(msgspec.json.encode(msgspec.json.decode(side, type=Levels)))
                            for side in (row.b, row.a))  # fmt: skip
    except msgspec.ValidationError as error:
        raise ColumnRefused("fields", str(error)) from None
    except msgspec.DecodeError as error:
        raise ColumnRefused("json", str(error)) from None
    return row


def _table(
    form: _Form, exchange: str, entries: Sequence[Received], rows: Sequence[Any], raw_symbols: Mapping[str, str]
) -> pa.Table:
    """All rows as columns; raises `ColumnRefused` when any of them does not fit."""
    symbols, events = [entry.symbol for entry in entries], [entry.event_ms for entry in entries]
    _check_event(form, rows)
    _check_names(form, rows, symbols, raw_symbols)
    columns: dict[str, pa.Array] = {
        "exchange": pa.array([exchange] * len(rows), pa.string()),
        "symbol": pa.array(symbols, pa.string()),
        "event_ts": exact_column("event_ts", events, form.shape.schema.field("ts").type),
        "received_ns": pa.array([entry.received_ns for entry in entries], pa.int64()),
    }
    if "sequence" in form.shape.schema.names:
        columns["sequence"] = pa.array([0] * len(rows), pa.int32())
    for name, where in form.columns.items():
        found = list(map(attrgetter(where), rows))
        if name == "ts":
            found = [event if at is None else at for at, event in zip(found, events, strict=True)]
            if any(abs(at - event) > _FAR_MS for at, event in zip(found, events, strict=True)):
                raise ColumnRefused("time", f"{where} lies more than a day from the event's time")
        columns[name] = _column(form, name, found)
    return pa.Table.from_arrays([columns[name] for name in form.shape.schema.names], schema=form.shape.schema)


def _column(form: _Form, name: str, found: list[Any]) -> pa.Array:
    field = form.shape.schema.field(name)
    if name in ("bids", "asks"):
        texts = pa.array([bytes(side).decode("ascii", "replace") for side in found], pa.string())
        if not pc.all(pc.match_substring_regex(texts, _LEVELS), min_count=0).as_py():
            raise ColumnRefused("type", f"{name} are not pairs of price and quantity")
        return texts
    return exact_column(name, found, field.type)


def _check_event(form: _Form, rows: Sequence[Any]) -> None:
    for row in rows:
        if row.e != form.event and row.e is not None:
            raise ColumnRefused("fields", f"event {row.e!r}, not {form.event!r}")


def _check_names(form: _Form, rows: Sequence[Any], symbols: Sequence[str], raw_symbols: Mapping[str, str]) -> None:
    known = {symbol: raw_symbols.get(symbol) for symbol in set(symbols)}
    for named, symbol in zip(map(attrgetter(form.name), rows), symbols, strict=True):
        if named != known[symbol] and named is not None:
            raise ColumnRefused("symbol", f"{named!r} in the Stream of {symbol} ({known[symbol]})")
