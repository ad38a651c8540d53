"""Reads recordings of real streams: what was received when, and the snapshots taken meanwhile. Bytes stay as they are.

Two kinds are known. **hftbacktest**: gzip files `spot/btcusdt_20240808.gz`, a line is `<received ns> <combined frame>`
or has a REST snapshot there; the files of a folder in order of name are one session. **cryptofeed**: `BINANCE.ws.1.0`
with lines `<received s>: <combined frame>`, its snapshots in `BINANCE.http.0.0` as `URL -> <received s>: <body>`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.live.messages import LiveMessage
from replica.live.names import Topic, read_name

_HTTP_LINE = re.compile(r"\S+/depth\?symbol=([^&\s]+)\S* -> ([0-9.]+): (\{.*)")
_WS_LINE = re.compile(r'([0-9.]+): (\{"stream".*)')


class _Frame(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class _Ids(msgspec.Struct):
    """What is looked at of any payload."""

    E: int = 0
    s: str = ""
    a: object = None
    t: object = None
    u: int = -1
    U: int = -1


class _Bar(msgspec.Struct):
    t: int


class _Kline(msgspec.Struct):
    k: _Bar


_frame = msgspec.json.Decoder(_Frame).decode
_ids = msgspec.json.Decoder(_Ids).decode
_kline = msgspec.json.Decoder(_Kline).decode


@dataclass(slots=True)
class Session:
    """One recording.

    Attributes:
        begun_ms: when its first message was received, by the recorder's clock.
        messages: with the milliseconds from the beginning at which each was received.
        snapshots: the body of `/depth`, by raw symbol.
    """

    market: Market
    begun_ms: float = 0.0
    messages: list[tuple[float, LiveMessage]] = field(default_factory=list)
    snapshots: dict[str, bytes] = field(default_factory=dict)

    def add(self, received_ms: float, frame: str) -> None:
        """A combined frame; those of streams that the exchange has no more keep silent."""
        opened = _frame(frame.encode())
        stream = opened.stream.replace("@depth@0ms", "@depth@100ms")
        key = read_name(self.market, stream)
        if key is None:
            return
        if not self.messages:
            self.begun_ms = received_ms
        data = bytes(opened.data)
        ids = _ids(data)
        first = last = ids.E
        if key.topic is Topic.TRADES and isinstance(ids.a, int):
            first = last = ids.a
        elif key.topic is Topic.FILLS and isinstance(ids.t, int):
            first = last = ids.t
        elif key.topic is Topic.BOOK_TICKER:
            first = last = ids.u
        elif key.topic is Topic.DEPTH:
            first, last = ids.U, ids.u
        elif key.topic is Topic.KLINES:
            first = last = _kline(data).k.t
        event_ms = ids.E or round(received_ms)
        message = LiveMessage(self.market, stream, data, event_ms, ids.s, key.topic.value, first, last)
        self.messages.append((received_ms - self.begun_ms, message))


def read_sessions(root: Path) -> list[Session]:
    """Every recording below a folder.

    Raises:
        ConfigError: there is none.
    """
    sessions = [session for session in (*_cryptofeed(root), *_hftbacktest(root)) if session.messages]
    if not sessions:
        raise ConfigError(f"no recordings of streams below {root}")
    return sessions


def _hftbacktest(root: Path) -> Iterator[Session]:
    for folder in sorted({path.parent for path in root.rglob("*.gz")}):
        if folder.name not in ("spot", "usdm"):
            continue
        session = Session(Market.SPOT if folder.name == "spot" else Market.UM)
        for path in sorted(folder.glob("*.gz")):
            symbol = path.name.partition("_")[0].upper()
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    received_ns, _, text = line.rstrip().partition(" ")
                    if text.startswith('{"stream"'):
                        session.add(int(received_ns) / 1e6, text)
                    elif text.startswith('{"lastUpdateId"'):
                        session.snapshots.setdefault(symbol, text.encode())
        yield session


def _cryptofeed(root: Path) -> Iterator[Session]:
    for path in sorted(root.rglob("*.ws.*")):
        session = Session(Market.UM if "FUTURES" in path.name else Market.SPOT)
        for line in path.read_text(encoding="utf-8").splitlines():
            found = _WS_LINE.fullmatch(line)
            if found:
                session.add(float(Decimal(found[1]) * 1000), found[2])
        for snapshots in sorted(path.parent.glob(f"{path.name.partition('.')[0]}.http.*")):
            for line in snapshots.read_text(encoding="utf-8").splitlines():
                found = _HTTP_LINE.fullmatch(line)
                if found:
                    session.snapshots.setdefault(found[1], found[3].encode())
        yield session
