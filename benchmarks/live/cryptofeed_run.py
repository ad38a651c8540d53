"""cryptofeed with its Redis Stream backend, pointed at the benchmark's sender. Runs in an environment of its own.

    PYTHON cryptofeed_run.py SENDER_PORT REDIS_PORT [STAMPS]

Everything is theirs: FeedHandler under uvloop, the Binance class, books, TradeStream and BookStream with their default
settings. Changed is where it connects to (their endpoints insist on `wss://`), and, where STAMPS names a file, that
the time of each acknowledgement is noted and written there at the end: `T|D symbol id monotonic_ns` a line.
"""

# mypy: ignore-errors
# Their packages are not in this project's environment.

import asyncio
import json
import sys
import time
import urllib.request
from collections import deque
from pathlib import Path

import cryptofeed.connection as theirs
import uvloop
from cryptofeed import FeedHandler
from cryptofeed.backends.redis import BookStream, TradeStream
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import Binance
from redis import asyncio as aioredis

STAMPS = []


class StampedTrades(TradeStream):
    """Notes when each batch was acknowledged: the pipeline's answer is the acknowledgement."""

    async def writer(self):
        await stamped_writer(self, lambda update: ("T", update["symbol"], update["id"]))


class StampedBooks(BookStream):
    """The same; a diff's id is not in what is written, so they are noted in the order of writing."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.numbers = deque()

    async def __call__(self, book, receipt_timestamp):
        self.number = book.sequence_number
        await super().__call__(book, receipt_timestamp)

    async def write(self, data):
        self.numbers.append(self.number if "delta" in data else None)
        await super().write(data)

    async def writer(self):
        await stamped_writer(self, lambda update: ("D", update["symbol"], self.numbers.popleft()))


async def stamped_writer(backend, name):
    """`RedisStreamCallback.writer` of cryptofeed 2.4.1, with a stamp after the answer."""
    conn = aioredis.from_url(backend.redis)
    while backend.running:
        async with backend.read_queue() as updates:
            names = [name(update) for update in updates]
            async with conn.pipeline(transaction=False) as pipe:
                for update in updates:
                    if "delta" in update:
                        update["delta"] = json_dumps(update["delta"])
                    elif "book" in update:
                        update["book"] = json_dumps(update["book"])
                    pipe = pipe.xadd(f"{backend.key}-{update['exchange']}-{update['symbol']}", update)
                await pipe.execute()
            STAMPS.append((time.monotonic_ns(), names))


def main():
    """Run until SIGTERM."""
    sender, redis_port = int(sys.argv[1]), int(sys.argv[2])
    stamps = sys.argv[3] if len(sys.argv) > 3 else None
    base = f"127.0.0.1:{sender}"
    Binance.websocket_endpoints = [WebsocketEndpoint(f"wss://{base}", options={"compression": None})]
    Binance.rest_endpoints = [
        RestEndpoint(f"http://{base}", routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
    ]
    connect = theirs.connect
    theirs.connect = lambda address, **options: connect(address.replace("wss://", "ws://", 1), **options)
    with urllib.request.urlopen(f"http://{base}/api/v3/exchangeInfo", timeout=30) as answer:
        listed = json.load(answer)["symbols"]
    symbols = [f"{each['baseAsset']}-{each['quoteAsset']}" for each in listed]
    trades, books = (StampedTrades, StampedBooks) if stamps else (TradeStream, BookStream)
    where = {"host": "127.0.0.1", "port": redis_port}
    to_trades, to_books = trades(**where), books(**where)
    for backend in (to_trades, to_books):
        # redis-py's default of five seconds ends their writers for good when the process is kept busy.
        backend.redis += "?socket_timeout=600"
    handler = FeedHandler(config={"uvloop": True, "log": {"filename": "/dev/stderr", "level": "WARNING"},
                                  "backend_multiprocessing": False})  # fmt: skip
    handler.add_feed(Binance(symbols=symbols, channels=[TRADES, L2_BOOK],
                             callbacks={TRADES: to_trades, L2_BOOK: to_books}))  # fmt: skip
    asyncio.set_event_loop(uvloop.new_event_loop())  # uvloop 0.23 makes none by itself any more
    try:
        handler.run()
    finally:
        if stamps:
            with Path(stamps).open("w") as file:
                for at_ns, names in STAMPS:
                    for kind, symbol, number in names:
                        if number is not None:
                            file.write(f"{kind} {symbol.replace('-', '')} {number} {at_ns}\n")


if __name__ == "__main__":
    from yapic.json import dumps as json_dumps

    main()
