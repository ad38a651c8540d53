"""A day's traffic in small: frames of 100 symbols whose diffs belong to coherent books, and which repeat for ever.

40 % depth diffs (log-normal, about 43 distinct levels, 1.5 kB) and 60 % aggregate trades, in the spot market's own
spelling. One cycle of frames is built once; every time it is sent again its ids go on where they ended
(`Block.patch`), so that ids stay contiguous and books stay true for as long as one likes: quantities are absolute,
levels stay inside a band about a price that does not move.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DEPTH, TRADE, TICKER = 0, 1, 2
SUFFIX = ("@depth@100ms", "@aggTrade", "@bookTicker")
FIRST_ID = 1_000_000_000
"""Ids have ten digits from the first to the last, so that they can be written over in place."""
BAND = 1334
"""Levels a side that a symbol's orders lie on; three quarters of them hold a quantity at any time."""
_EMPTY_SHARE = 0.25
_MEAN_LEVELS, _SIGMA = 47.0, 0.8
_MID_TICKS = 20_000
_QUANTITIES = 4096
_E, _ID = "0" * 13, "0" * 10


@dataclass(frozen=True, slots=True)
class Shape:
    """What a feed is made of.

    Attributes:
        messages: frames a cycle. mix: shares of depth, trades, book tickers. seed: same seed, same feed.
    """

    symbols: int = 100
    messages: int = 60_000
    mix: tuple[float, float, float] = (0.4, 0.6, 0.0)
    mean_levels: float = _MEAN_LEVELS
    seed: int = 1


class Feed:
    """One cycle: of message n its kind, its symbol, its ids; and the frames themselves, when they are asked for.

    Attributes:
        kind, symbol: by message. first_id, last_id: in the first cycle. stride: what a cycle adds to them.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        rng = np.random.default_rng(shape.seed)
        n = shape.messages
        self.names = [_letters(i) + "USDT" for i in range(shape.symbols)]
        self.kind = rng.choice(3, n, p=shape.mix).astype(np.int64)
        self.symbol = rng.integers(0, shape.symbols, n)
        updates = np.where(self.kind == DEPTH, rng.integers(1, 60, n), 1)
        self.first_id, self.last_id, self.stride = _ids(self.kind, self.symbol, updates, shape.symbols)
        self.mid = _MID_TICKS + rng.integers(0, 60_000, shape.symbols)
        self._levels(rng)
        self._trades = rng.integers(0, _QUANTITIES, n), rng.integers(-20, 20, n), rng.integers(0, 2, n)
        self._initial = (
            rng.integers(0, _QUANTITIES, (shape.symbols, 2, BAND)),
            (rng.random((shape.symbols, 2, BAND)) < _EMPTY_SHARE),
        )

    def _levels(self, rng: np.random.Generator) -> None:
        """Levels of all depth messages, flat: message n has those from `bounds[n]` to `bounds[n + 1]`."""
        n = self.shape.messages
        mu = np.log(self.shape.mean_levels) - _SIGMA**2 / 2
        counts = np.clip(np.rint(rng.lognormal(mu, _SIGMA, n)), 1, 1000).astype(np.int64) * (self.kind == DEPTH)
        total = int(counts.sum())
        near = np.minimum(rng.exponential(60, total), BAND - 1)
        place = np.where(rng.random(total) < 0.6, near, rng.integers(0, BAND, total)).astype(np.int64)
        owner = np.repeat(np.arange(n), counts)
        # each level once a message: a diff has a price once
        key = np.unique((owner * 2 + rng.integers(0, 2, total)) * BAND + place)
        self._place, self._side = key % BAND, key // BAND % 2
        owner = key // (2 * BAND)
        self._quantity = np.where(rng.random(len(key)) < _EMPTY_SHARE, -1, rng.integers(0, _QUANTITIES, len(key)))
        self._bounds = np.searchsorted(owner, np.arange(n + 1))

    @cached_property
    def quantities(self) -> list[str]:
        """The quantities in use; the last one (index -1) is none."""
        rng = np.random.default_rng(7)
        return [f"{q / 1000:.8f}" for q in rng.integers(1000, 99_999, _QUANTITIES)] + ["0.00000000"]

    def price(self, symbol: int, side: int, place: int) -> str:
        """The price of a level, counted from the middle; side 0 bids."""
        ticks = int(self.mid[symbol]) + (place if side else -1 - place)
        return f"{ticks // 100}.{ticks % 100:02d}000000"

    def count(self, kind: int, ordinal: int) -> int:
        """How many messages of this kind come before this one, over all cycles."""
        cycles, rest = divmod(ordinal, self.shape.messages)
        of_kind = self.kind == kind
        return cycles * int(of_kind.sum()) + int(of_kind[:rest].sum())

    def stream(self, symbol: int, kind: int) -> str:
        return self.names[symbol].lower() + SUFFIX[kind]

    @cached_property
    def streams(self) -> list[str]:
        """All streams of the feed."""
        kinds = [kind for kind, share in enumerate(self.shape.mix) if share]
        return [self.stream(symbol, kind) for symbol in range(self.shape.symbols) for kind in kinds]

    @cached_property
    def frames(self) -> tuple[list[bytes], list[tuple[int, ...]], list[tuple[int, ...]]]:
        """WebSocket frames, and in each where ids and times stand."""
        frames, id_places, time_places = [], [], []
        for n, (kind, symbol) in enumerate(zip(self.kind.tolist(), self.symbol.tolist(), strict=True)):
            text = self._envelope(n, kind, symbol).encode()
            header = _header(len(text))
            frames.append(header + text)
            marks = {DEPTH: (b'"U":', b'"u":'), TRADE: (b'"a":', b'"f":', b'"l":'), TICKER: (b'"u":',)}[kind]
            times = {DEPTH: (b'"E":',), TRADE: (b'"E":', b'"T":'), TICKER: ()}[kind]
            id_places.append(tuple(len(header) + text.index(mark) + 4 for mark in marks))
            time_places.append(tuple(len(header) + text.index(mark) + 4 for mark in times))
        return frames, id_places, time_places

    def _envelope(self, n: int, kind: int, symbol: int) -> str:
        name, stream = self.names[symbol], self.stream(symbol, kind)
        quantity, away, maker = (int(each[n]) for each in self._trades)
        if kind == DEPTH:
            bids, asks = self._sides(n, symbol)
            data = f'{{"e":"depthUpdate","E":{_E},"s":"{name}","U":{_ID},"u":{_ID},"b":[{bids}],"a":[{asks}]}}'
        elif kind == TRADE:
            price, size = self.price(symbol, int(away >= 0), abs(away)), self.quantities[quantity]
            data = (
                f'{{"e":"aggTrade","E":{_E},"s":"{name}","a":{_ID},"p":"{price}","q":"{size}","f":{_ID},"l":{_ID},'
                f'"T":{_E},"m":{"true" if maker else "false"},"M":true}}'
            )
        else:
            bid, ask = self.price(symbol, 0, 0), self.price(symbol, 1, 0)
            size = self.quantities[quantity]
            data = f'{{"u":{_ID},"s":"{name}","b":"{bid}","B":"{size}","a":"{ask}","A":"{size}"}}'
        return f'{{"stream":"{stream}","data":{data}}}'

    def _sides(self, n: int, symbol: int) -> tuple[str, str]:
        low, high = int(self._bounds[n]), int(self._bounds[n + 1])
        sides: tuple[list[str], list[str]] = ([], [])
        for side, place, quantity in zip(
            self._side[low:high].tolist(),
            self._place[low:high].tolist(),
            self._quantity[low:high].tolist(),
            strict=True,
        ):
            sides[side].append(f'["{self.price(symbol, side, place)}","{self.quantities[quantity]}"]')
        return ",".join(sides[0]), ",".join(sides[1])

    def book_at(self, symbol: int, ordinal: int) -> tuple[int, dict[str, str], dict[str, str]]:
        """A symbol's book after the messages before `ordinal` (counted over all cycles): update id, bids, asks.

        Before a symbol's first diff the id is the one before it.
        """
        quantities, empty = self._initial[0][symbol], self._initial[1][symbol]
        state: Any = np.where(empty, -1, quantities)
        mine = np.flatnonzero((self.kind == DEPTH) & (self.symbol == symbol))
        cycle, rest = divmod(ordinal, self.shape.messages)
        told = mine[mine < rest]
        # a whole cycle leaves the same book behind, however often it was applied
        for n in [*(mine if cycle else ()), *told]:
            part = slice(int(self._bounds[n]), int(self._bounds[n + 1]))
            state[self._side[part], self._place[part]] = self._quantity[part]
        if len(mine):
            last = int(self.last_id[told[-1]]) if len(told) else int(self.first_id[mine[0]]) - 1
            last += cycle * int(self.stride[mine[0]])
        else:
            last = FIRST_ID
        bids, asks = (
            {self.price(symbol, side, place): self.quantities[int(state[side, place])]
             for place in range(BAND) if state[side, place] >= 0}
            for side in (0, 1)
        )  # fmt: skip
        return last, bids, asks


class Block:
    """One connection's part of a feed as bytes, written over in place for each cycle.

    Attributes:
        messages: which of the feed's it has. starts: where each begins in `data`, and where the last one ends.
    """

    def __init__(self, feed: Feed, streams: Collection[str]) -> None:
        wanted = np.array([
            [feed.stream(symbol, kind) in streams for kind in range(3)] for symbol in range(feed.shape.symbols)
        ])  # fmt: skip
        self.messages: Ints = np.flatnonzero(wanted[feed.symbol, feed.kind])
        frames, id_places, time_places = feed.frames
        mine = self.messages.tolist()
        self.data = bytearray().join(frames[n] for n in mine)
        self.view = memoryview(self.data)
        self._digits = np.frombuffer(self.data, dtype=np.uint8)
        self.starts: Ints = np.concatenate(([0], np.cumsum([len(frames[n]) for n in mine]))).astype(np.int64)
        self.offsets: list[int] = self.starts.tolist()
        self._cycle = feed.shape.messages
        ids = [(i, place, w) for i, n in enumerate(mine) for w, place in enumerate(id_places[n])]
        times = [(i, place) for i, n in enumerate(mine) for place in time_places[n]]
        self._ids, self._times = (
            np.array(ids or np.empty((0, 3)), np.int64),
            np.array(times or np.empty((0, 2)), np.int64),
        )
        self._id_bounds = np.searchsorted(self._ids[:, 0], np.arange(len(mine) + 1)).tolist()
        self._time_bounds = np.searchsorted(self._times[:, 0], np.arange(len(mine) + 1)).tolist()
        owner = self.messages[self._ids[:, 0]]
        first = (feed.kind[owner] == DEPTH) & (self._ids[:, 2] == 0)
        self._values = np.where(first, feed.first_id[owner], feed.last_id[owner])
        self._strides = feed.stride[owner]
        self._id_at = (self.starts[self._ids[:, 0]] + self._ids[:, 1])[:, None] + np.arange(10)
        self._time_at = (self.starts[self._times[:, 0]] + self._times[:, 1])[:, None] + np.arange(13)
        self._time_owner = self._times[:, 0]

    def __len__(self) -> int:
        return len(self.messages)

    def patch(self, cycle: int, low: int, high: int, event_ms: Ints) -> None:
        """Write ids of a cycle, and event times, into messages low to high; `event_ms` has one for each of them."""
        part = slice(self._id_bounds[low], self._id_bounds[high])
        values = self._values[part] + cycle * self._strides[part]
        self._digits[self._id_at[part]] = values[:, None] // _TENS_ID % 10 + 48
        part = slice(self._time_bounds[low], self._time_bounds[high])
        times = event_ms[self._time_owner[part] - low]
        self._digits[self._time_at[part]] = times[:, None] // _TENS_TIME % 10 + 48


_TENS_ID: Ints = 10 ** np.arange(9, -1, -1, dtype=np.int64)
_TENS_TIME: Ints = 10 ** np.arange(12, -1, -1, dtype=np.int64)


def ordinals(feed: Feed, kind: int, symbol: int, ids: Ints) -> Ints:
    """Which message of the endless feed had these last ids: what the sender's timetable is asked for."""
    mine = np.flatnonzero((feed.kind == kind) & (feed.symbol == symbol))
    stride = int(feed.stride[mine[0]])
    cycle, rest = np.divmod(ids - FIRST_ID - 1, stride)
    return np.asarray(cycle * feed.shape.messages + mine[np.searchsorted(feed.last_id[mine], rest + FIRST_ID + 1)])


def _ids(kind: Ints, symbol: Ints, updates: Ints, symbols: int) -> tuple[Ints, Ints, Ints]:
    """Ids from FIRST_ID + 1 on, contiguous for each kind and symbol."""
    series = kind * symbols + symbol
    order = np.argsort(series, kind="stable")
    running = np.cumsum(updates[order])
    starts = np.flatnonzero(np.diff(series[order], prepend=-1))
    before = np.concatenate(([0], running))[starts]
    lengths = np.diff(np.append(starts, len(order)))
    last = np.empty_like(running)
    last[order] = running - np.repeat(before, lengths) + FIRST_ID
    stride = np.empty_like(running)
    totals = np.add.reduceat(updates[order], starts) if len(order) else np.empty(0, np.int64)
    stride[order] = np.repeat(totals, lengths)
    return last - updates + 1, last, stride


def _header(length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", 0x81, length)
    return struct.pack("!BBH", 0x81, 126, length) if length < 65_536 else struct.pack("!BBQ", 0x81, 127, length)


def _letters(i: int) -> str:
    return "X" + "".join(chr(65 + i // 26**k % 26) for k in (2, 1, 0))
