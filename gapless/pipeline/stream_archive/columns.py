"""Spooled entries -> canonical rows: whose reader is asked, under which raw names; and the events of losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import pyarrow as pa

from gapless.domain.live import Entry, GapEvent, Kind
from gapless.domain.stream_columns import STREAM_GAP
from gapless.errors import ConfigError
from gapless.exchanges.binance.stream_rows import RejectedPayload, parse_stream
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.storage.mysql import MySql, RefusedRow, read_instruments


def dataset_of(kind: Kind) -> str:
    """The lake's folder of a kind."""
    return STREAM_GAP.dataset if kind is Kind.GAPS else str(kind)


class RawSymbols(Mapping[str, str]):
    """The exchange's own name of each unified symbol: as listed, else base and quote written together."""

    def __init__(self, listed: Mapping[str, str]) -> None:
        self._listed = listed

    @classmethod
    def of(cls, db: MySql, exchange: str) -> RawSymbols:
        """As the books have them.

        Raises:
            StorageError: the server did not answer for as long as retries last.
        """
        return cls({each.symbol: each.raw_symbol for each in read_instruments(db, exchange)})

    def __getitem__(self, symbol: str) -> str:
        return self._listed.get(symbol) or symbol.partition(":")[0].replace("/", "")

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def rows_of(
    kind: Kind, exchange: str, entries: Sequence[Entry], raw_symbols: Mapping[str, str]
) -> tuple[pa.Table, list[RefusedRow]]:
    """The rows of entries of one kind, and what could not be taken, as the quarantine keeps it.

    Raises:
        ConfigError: nobody here reads this exchange's payloads.
    """
    if kind is Kind.GAPS:
        return _gap_rows(exchange, entries)
    if exchange != EXCHANGE:
        raise ConfigError(f"the payloads of {exchange!r} cannot be read: only {EXCHANGE}'s can; its spool stays")
    dataset = dataset_of(kind)
    rows, rejected = parse_stream(dataset, exchange, entries, raw_symbols)
    return rows, [_refused(dataset, exchange, each) for each in rejected]


def gap_events(entries: Iterable[Entry]) -> list[GapEvent]:
    """The events among entries of `md.gaps`; what is none is left out (`rows_of` refuses it)."""
    found = []
    for entry in entries:
        try:
            found.append(msgspec.json.decode(entry.payload, type=GapEvent))
        except msgspec.DecodeError:
            continue
    return found


def gap_table(exchange: str, events: Sequence[tuple[GapEvent, int]]) -> pa.Table:
    """Events, each with its `received_ns`, as rows."""
    columns = {
        "exchange": [exchange] * len(events),
        "symbol": [gap.symbol for gap, _ in events],
        "ts": [gap.at_ms for gap, _ in events],
        **{
            name: [getattr(gap, name) for gap, _ in events]
            for name in ("reason", "from_id", "to_id", "count", "repaired", "detail")
        },
        "kind": [str(gap.kind) for gap, _ in events],
        "first_identity": [gap.first for gap, _ in events],
        "last_identity": [gap.last for gap, _ in events],
        "received_ns": [seen for _, seen in events],
    }
    return pa.Table.from_arrays(
        [pa.array(columns[field.name], field.type) for field in STREAM_GAP.schema], schema=STREAM_GAP.schema
    )


def _gap_rows(exchange: str, entries: Sequence[Entry]) -> tuple[pa.Table, list[RefusedRow]]:
    events: list[tuple[GapEvent, int]] = []
    refused: list[RefusedRow] = []
    for entry in entries:
        try:
            events.append((msgspec.json.decode(entry.payload, type=GapEvent), entry.received_ns))
        except msgspec.DecodeError as error:
            bad = RejectedPayload(entry.symbol, entry.event_ms, "fields", str(error), entry.payload)
            refused.append(_refused(STREAM_GAP.dataset, exchange, bad))
    return gap_table(exchange, events), refused


def _refused(dataset: str, exchange: str, each: RejectedPayload) -> RefusedRow:
    payload = each.payload.decode("utf-8", "replace")
    return RefusedRow(exchange, each.symbol, "", each.event_ms, each.reason, payload, each.detail, dataset)
