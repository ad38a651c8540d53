"""The generated market: every bar of every minute as a pure function of (seed, market, symbol, minute).

No state, so any window of any year can be asked in any order and by any number of processes, with one answer. A day of
one symbol is made at a time; no value of a day depends on another day (its first minute always trades), so access is
random.

How a minute comes about. A price path `P(minute)`, ten octaves of smooth noise around the listing's base price, gives
the open; the next minute's path, give or take a tick, gives the close. Between them price goes to one extreme and then
to the other, and a share of the minute's volume trades at each of the four prices: the quote volume is the exact sum
of price times quantity, and the still-open bar is the same walk cut off at the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gapless.domain.instrument import Market
from gapless.domain.window import Window
from replica.bars import DAY_MS, MINUTE_MS, Bars, aggregate, concat, no_bars
from replica.noise import Ints, bits, smooth, stream_key, word, words
from replica.universe import Listing

MINUTES = DAY_MS // MINUTE_MS
_OCTAVES = tuple((4**level, 367_001 >> (9 - level)) for level in range(10))
"""Period in minutes (one minute to half a year) and weight of 2**20; the weights sum to 0.7."""

_HOURS = (70, 64, 60, 56, 54, 56, 62, 74, 88, 92, 90, 86, 90, 110, 128, 126, 118, 108, 98, 92, 88, 84, 80, 76)
"""Activity by UTC hour, in hundredths: quiet before Europe wakes, busiest when America opens."""

_HALT_ONE_DAY_IN = 40
_Mask = npt.NDArray[np.bool_]


def _day_pattern() -> Ints:
    hours = np.array([*_HOURS, _HOURS[0]], dtype=np.int64)
    minute = np.arange(MINUTES)
    hour, past = minute // 60, minute % 60
    return (hours[hour] * (60 - past) + hours[hour + 1] * past) * 1024 // 6000


_PATTERN = _day_pattern()


@dataclass(frozen=True, slots=True)
class _Walk:
    """The minutes of one day in full: four prices in the order they trade, and what trades at each."""

    prices: Ints  # (4, minutes), price units: open, one extreme, the other, close
    volumes: Ints  # (4, minutes), quantity units
    taker: Ints  # (4, minutes), quantity units bought by takers
    trades: Ints
    present: _Mask  # False where the exchange has no bar


class GeneratedMarket:
    """Bars of a seeded market that never was.

    Args:
        seed: any text; another seed is another market.
        cached_days: how many symbol-days of minutes are kept, about 115 kB each.
    """

    def __init__(self, seed: str, *, cached_days: int = 768) -> None:
        self.seed = seed
        self._day = lru_cache(maxsize=cached_days)(self._make_day)
        self._coarse = lru_cache(maxsize=cached_days * 16)(self._make_coarse)
        self._keys = lru_cache(maxsize=8192)(self._make_keys)
        self._minute = lru_cache(maxsize=8192)(self._make_minute)
        self._settled = lru_cache(maxsize=256)(self._make_settled)

    def halt(self, market: Market, day: int) -> Window | None:
        """The hours of UTC day number `day` in which the market's engine stood still, if it did.

        Spot has no bars then, whatever the symbol; USD-M has flat bars without volume. About one day in forty; never
        the first minutes of a day.
        """
        draw = word(stream_key(self.seed, market.value, "halt"), day)
        if draw % _HALT_ONE_DAY_IN:
            return None
        start = 30 + (draw >> 8) % 1000
        length = 20 + (draw >> 24) % 280
        return Window(day * DAY_MS + start * MINUTE_MS, day * DAY_MS + (start + length) * MINUTE_MS)

    def bars(self, listing: Listing, interval_ms: int, start_ms: int, end_ms: int) -> Bars:
        """The finished bars that open in `[start_ms, end_ms)`, as they will be once the whole of each is over.

        `interval_ms` divides a day.
        """
        first, last = start_ms // DAY_MS, -(-end_ms // DAY_MS)
        first = max(first, listing.listed_ms // DAY_MS)
        make = self._day if interval_ms == MINUTE_MS else None
        days = (make(listing, day) if make else self._coarse(listing, interval_ms, day) for day in range(first, last))
        return concat(days).between(start_ms, end_ms)

    def prices(self, listing: Listing, minutes: Ints) -> Ints:
        """The open price of each of these minutes (numbers since 1970, ascending), in units of the listing's price."""
        keys = self._keys(listing)
        noise = np.zeros(len(minutes), dtype=np.int64)
        for key, (period, weight) in zip(keys, _OCTAVES, strict=False):
            noise += smooth(key, minutes, period) * weight
        ticks = listing.base_ticks + ((noise >> 15) * listing.base_ticks >> 20)
        return ticks * listing.tick_units

    def open_bar(self, listing: Listing, interval_ms: int, now_ms: int) -> Bars:
        """The bar that is being made at `now_ms`, with what has traded so far; empty in a halt or outside its life."""
        start_ms = now_ms - now_ms % interval_ms
        minute_ms = now_ms - now_ms % MINUTE_MS
        done = self.bars(listing, MINUTE_MS, start_ms, minute_ms)
        return aggregate(concat((done, self._open_minute(listing, now_ms))), interval_ms)

    def _open_minute(self, listing: Listing, now_ms: int) -> Bars:
        """The walk of the running minute up to now: a quarter of the minute trades at each of its four prices."""
        minute_ms, elapsed_ms = now_ms - now_ms % MINUTE_MS, now_ms % MINUTE_MS
        whole = self.bars(listing, MINUTE_MS, minute_ms, minute_ms + MINUTE_MS)
        if not len(whole) or not whole.volume[0]:
            return whole
        prices, all_volumes, all_taker = self._minute(listing, minute_ms)
        quarter_ms = MINUTE_MS // 4
        phase = min(elapsed_ms // quarter_ms, 3)
        within_ms = elapsed_ms - phase * quarter_ms

        def so_far(parts: list[int]) -> list[int]:
            return [*parts[:phase], parts[phase] * within_ms // quarter_ms]

        volumes, taker = so_far(all_volumes), so_far(all_taker)
        seen = prices[: phase + 1] if elapsed_ms else prices[:1]
        traded = sum(volumes)
        total = int(whole.volume[0])
        values = (
            minute_ms,
            seen[0],
            max(seen),
            min(seen),
            seen[-1],
            traded,
            sum(price * part for price, part in zip(prices, volumes, strict=False)),
            -(-int(whole.trades[0]) * traded // total),
            sum(taker),
            sum(price * part for price, part in zip(prices, taker, strict=False)),
        )
        return Bars(*(np.array([value], dtype=np.int64) for value in values))

    def _make_minute(self, listing: Listing, minute_ms: int) -> tuple[list[int], list[int], list[int]]:
        """Prices, volumes and taker volumes of one minute's walk."""
        day, past_ms = divmod(minute_ms, DAY_MS)
        walk, at = self._walk(listing, day), past_ms // MINUTE_MS
        return walk.prices[:, at].tolist(), walk.volumes[:, at].tolist(), walk.taker[:, at].tolist()

    def _make_keys(self, listing: Listing) -> tuple[np.uint64, ...]:
        path = tuple(stream_key(self.seed, listing.coin, "path", str(level)) for level in range(len(_OCTAVES)))
        own = (listing.market.value, listing.raw_symbol)
        return (*path, *(stream_key(self.seed, *own, purpose) for purpose in ("shape", "volume", "taker")))

    def _path(self, listing: Listing, first: int, count: int) -> Ints:
        """The price path in ticks at `count` minutes from minute number `first` on."""
        return self.prices(listing, np.arange(first, first + count, dtype=np.int64)) // listing.tick_units

    def _walk(self, listing: Listing, day: int) -> _Walk:
        """The day's minutes in full, before flat bars are put in."""
        shape_key, volume_key, taker_key = self._keys(listing)[len(_OCTAVES) :]
        first = day * MINUTES
        minutes = np.arange(first, first + MINUTES, dtype=np.int64)
        shape, size, buys = (words(key, minutes) for key in (shape_key, volume_key, taker_key))

        path = self._path(listing, first, MINUTES + 1)
        opens = path[:-1]
        closes = np.maximum(path[1:] + bits(shape, 0, 2) % 3 - 1, 1)
        reach = listing.base_ticks // 1200 + 1
        up, down = bits(shape, 2, 16), bits(shape, 18, 16)
        highs = np.maximum(opens, closes) + ((up * up >> 16) * reach >> 16)
        lows = np.maximum(np.minimum(opens, closes) - ((down * down >> 16) * reach >> 16), 1)
        rising = bits(shape, 34, 1) == 0
        prices = np.stack((opens, np.where(rising, highs, lows), np.where(rising, lows, highs), closes))
        prices *= listing.tick_units

        # Volume: the hour's activity times a heavy-tailed draw, and more when price moved far.
        unit = 10**listing.quantity_decimals
        draw = bits(size, 0, 12) * bits(size, 12, 12) >> 12
        spread = (highs - lows) * 256 // (reach + 1) + 64
        base = listing.typical_volume * unit * _PATTERN >> 10
        volume = 4 + (base * draw >> 12) * spread // 512
        shares = np.stack([bits(size, low, 8) + 16 for low in (24, 32, 40, 48)])
        parts = (volume - 4) * shares // shares.sum(axis=0) + 1
        parts[3] += volume - parts.sum(axis=0)
        taker = np.stack([part * bits(buys, low, 8) >> 8 for part, low in zip(parts, (0, 8, 16, 24), strict=True)])
        trades = 4 + np.minimum(volume - 4, (volume - 4) * 1500 // (listing.typical_volume * unit) + bits(size, 56, 5))

        at_ms = minutes * MINUTE_MS
        traded = bits(shape, 40, 16) >= listing.flat_per_65536
        present = at_ms >= listing.listed_ms
        halt = self.halt(listing.market, day)
        if halt:
            halted = (at_ms >= halt.start_ms) & (at_ms < halt.end_ms)
            if listing.market is Market.SPOT:
                present &= ~halted
            else:
                traded &= ~halted
        traded[0] = True
        listed_at = (listing.listed_ms - day * DAY_MS) // MINUTE_MS
        if 0 <= listed_at < MINUTES:
            traded[listed_at] = True
        if listing.delisted_ms is not None:
            alive = at_ms < listing.delisted_ms
            traded &= alive
            if listing.market is Market.SPOT:
                present &= alive
        volumes = np.where(traded, parts, 0)
        return _Walk(prices, volumes, np.where(traded, taker, 0), np.where(traded, trades, 0), present)

    def _make_day(self, listing: Listing, day: int) -> Bars:
        settled_day = None if listing.delisted_ms is None else (listing.delisted_ms - 1) // DAY_MS
        if settled_day is not None and day > settled_day:
            return self._after_delisting(listing, day)
        walk = self._walk(listing, day)
        volume = walk.volumes.sum(axis=0)
        traded = volume > 0
        last_traded = np.maximum.accumulate(np.where(traded & walk.present, np.arange(MINUTES), 0))
        close = walk.prices[3][last_traded]
        bars = Bars(
            open_ms=(day * MINUTES + np.arange(MINUTES, dtype=np.int64)) * MINUTE_MS,
            open=np.where(traded, walk.prices[0], close),
            high=np.where(traded, walk.prices.max(axis=0), close),
            low=np.where(traded, walk.prices.min(axis=0), close),
            close=close,
            volume=volume,
            quote_volume=(walk.prices * walk.volumes).sum(axis=0),
            trades=walk.trades,
            taker_volume=walk.taker.sum(axis=0),
            taker_quote_volume=(walk.prices * walk.taker).sum(axis=0),
        )
        if walk.present.all():
            return bars
        return Bars(*(column[walk.present] for column in bars.columns()))

    def _make_settled(self, listing: Listing) -> int:
        assert listing.delisted_ms is not None  # noqa: S101 - asked for delisted listings alone
        return int(self._make_day(listing, (listing.delisted_ms - 1) // DAY_MS).close[-1])

    def _after_delisting(self, listing: Listing, day: int) -> Bars:
        if listing.market is Market.SPOT:
            return no_bars()
        price = np.full(MINUTES, self._settled(listing), dtype=np.int64)
        none = np.zeros(MINUTES, dtype=np.int64)
        opens = (day * MINUTES + np.arange(MINUTES, dtype=np.int64)) * MINUTE_MS
        return Bars(opens, price, price, price, price, none, none, none, none, none)

    def _make_coarse(self, listing: Listing, interval_ms: int, day: int) -> Bars:
        return aggregate(self._day(listing, day), interval_ms)
