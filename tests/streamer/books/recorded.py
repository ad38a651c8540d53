"""The real recordings of books, as events in the order they were received."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth, Levels

_read_depth = msgspec.json.Decoder(Depth).decode
_read_snapshot = msgspec.json.Decoder(Snapshot).decode


class Ticker(NamedTuple):
    """The best bid and ask as the exchange told it."""

    u: int
    b: str
    B: str
    a: str
    A: str


Event = Depth | Snapshot | Ticker


class _Any(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class _Ticker(msgspec.Struct):
    u: int
    b: str
    B: str
    a: str
    A: str


_open = msgspec.json.Decoder(_Any).decode
_read_ticker = msgspec.json.Decoder(_Ticker).decode


def hftbacktest(*paths: Path) -> Iterator[Event]:
    """`<receive ns> <message>`: one symbol, its snapshot among the messages."""
    for path in paths:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                text = line[line.index(b" ") + 1 :]
                if text.startswith(b'{"lastUpdateId"'):
                    yield _read_snapshot(text)
                elif b"@depth@" in text[:40] or b"@bookTicker" in text[:40]:
                    yield _event(text)


def cryptofeed(folder: Path, name: str) -> dict[str, list[Event]]:
    """`<receive s>: <message>`, by symbol; the snapshots stand in a file of their own and come by their time."""
    timed: list[tuple[float, str, Event]] = []
    for line in (folder / f"{name}.http.0.0").read_text().splitlines():
        if "depth?symbol=" in line:
            url, _, answer = line.partition(" -> ")
            received, _, body = answer.partition(": ")
            symbol = url.partition("symbol=")[2].partition("&")[0]
            timed.append((float(received), symbol, _read_snapshot(body)))
    for line in (folder / f"{name}.ws.1.0").read_text().splitlines()[1:]:
        received, _, body = line.partition(": ")
        if not body.startswith('{"stream"'):
            continue
        symbol = body[11 : body.index("@")].upper()
        if "@depth@" in body[:60] or "@bookTicker" in body[:60]:
            timed.append((float(received), symbol, _event(body.encode())))
    by_symbol: dict[str, list[Event]] = {}
    for _, symbol, event in sorted(timed, key=lambda each: each[0]):
        by_symbol.setdefault(symbol, []).append(event)
    return by_symbol


def _event(text: bytes) -> Event:
    envelope = _open(text)
    if "@depth" in envelope.stream:
        return _read_depth(envelope.data)
    ticker = _read_ticker(envelope.data)
    return Ticker(ticker.u, ticker.b, ticker.B, ticker.a, ticker.A)


def trx_spot(folder: Path) -> list[Depth]:
    """One row a level, numbers as Python writes them."""
    path = folder / "test_positive_binance_difference_depth_stream_spot_trxusdt_04-03-2025.csv"
    with path.open() as lines:
        return _diffs(csv.DictReader(lines))


def trx_um(folder: Path) -> tuple[Snapshot, list[Depth]]:
    """One row a level: the REST snapshot, and the diffs."""
    path = next(folder.glob("merged_depth_snapshot*"))
    with path.open() as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    taken = [row for row in rows if row["StreamType"] == "DEPTH_SNAPSHOT"]
    sides: tuple[Levels, Levels] = [], []
    for row in taken:
        sides[int(row["IsAsk"])].append((row["Price"], row["Quantity"]))
    snapshot = Snapshot(int(taken[0]["LastUpdateId"]), *sides)
    return snapshot, _diffs(row for row in rows if row["StreamType"] == "DIFFERENCE_DEPTH_STREAM")


def _diffs(rows: Iterable[dict[str, str]]) -> list[Depth]:
    diffs: dict[int, Depth] = {}
    for row in rows:
        last, before = int(row["FinalUpdateId"]), row.get("FinalUpdateIdInLastStream")
        diff = diffs.setdefault(
            last,
            Depth(
                E=int(row["EventTime"]),
                s=row["Symbol"],
                U=int(row["FirstUpdateId"]),
                u=last,
                b=[],
                a=[],
                pu=int(before) if before else None,
            ),
        )
        (diff.a if row["IsAsk"] == "1" else diff.b).append((row["Price"], row["Quantity"]))
    return list(diffs.values())
