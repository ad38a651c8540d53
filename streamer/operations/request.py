"""What a start of the sidecar asks for, and how it is told to end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.names import CHANNELS
from streamer.operations.shards import Shard

Library = Literal["picows", "websockets"]


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What to stream, for one process.

    Attributes:
        symbols: as on the command line, `BTC/USDT,BTC/USDT:USDT` or `all:USDT`; None: the list of
            `Settings.symbols_file`, which is then followed while it changes.
        market: of raw symbols and of `all`; None where the names say it.
        channels: what of each instrument, in the order of `CHANNELS`.
        intervals: of the klines.
        transport: the WebSocket library.
        shard: which share of the instruments is this process's.
        top: levels a side of `book.top...`.
        books: whether order books are built; without, depth is passed on as diffs alone.
        host, port: where health and metrics are answered; port 0: any free one, None: nowhere.
    """

    symbols: str | None = None
    market: Market | None = None
    channels: tuple[Kind, ...] = CHANNELS
    intervals: tuple[str, ...] = ("1m",)
    transport: Library = "picows"
    shard: Shard = field(default_factory=Shard)
    top: int = 20
    books: bool = True
    host: str = "127.0.0.1"
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process is told from outside while it runs. Made inside the event loop that waits for it.

    Attributes:
        over: set by the first SIGTERM or SIGINT: write what is under way, then end.
        reload: set by SIGHUP: read the list of instruments again now; who has done so clears it.
    """

    over: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
