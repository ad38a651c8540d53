"""The instruments of a generated market: what is listed, when, and how finely it is priced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gapless.domain.instrument import Market
from replica.bars import Scale

PERPETUAL_SENTINEL_MS = 4_133_404_800_000
"""The far-future delivery date by which the exchange marks a perpetual that nobody plans to delist."""


def _utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument of the generated market.

    Attributes:
        market, raw_symbol, base, quote: as the exchange names them; `base` keeps the multiplier (`1000PEPE`).
        coin: the thing itself (`PEPE`), so that its spot pair and its perpetual follow one price path.
        price_decimals: decimals of a price on the wire; on spot every string is padded to eight.
        tick_units: the tick in units of `10**-price_decimals` (10 for a tick of `0.10`).
        base_ticks: the middle of the price path, in ticks; the path stays between 0.3 and 1.7 of it.
        quantity_decimals: decimals of a quantity, and of its step.
        typical_volume: base units of a busy minute.
        flat_per_65536: how many minutes of 65,536 have no trade.
        listed_ms: its first minute, ms UTC.
        delisted_ms: its last moment, ms UTC, or None. Afterwards a perpetual is listed as SETTLING and makes flat bars
            without volume; a spot pair is gone.
        underlying: the exchange's tag for the kind of coin.
    """

    market: Market
    raw_symbol: str
    base: str
    quote: str
    coin: str
    price_decimals: int
    tick_units: int
    base_ticks: int
    quantity_decimals: int
    typical_volume: int
    flat_per_65536: int
    listed_ms: int
    delisted_ms: int | None = None
    underlying: str = "Layer-1"

    @property
    def scale(self) -> Scale:
        """How its integers are written on the wire."""
        quote = self.price_decimals + self.quantity_decimals
        if self.market is Market.SPOT:
            return Scale(self.price_decimals, self.quantity_decimals, quote, pad=8)
        return Scale(self.price_decimals, self.quantity_decimals, quote, bare_zero=True)

    def exists(self, at_ms: int) -> bool:
        """Whether klines are served for it at all: announced perpetuals and settled ones are, gone spot pairs not."""
        if self.market is Market.UM:
            return True
        return self.listed_ms <= at_ms and (self.delisted_ms is None or at_ms < self.delisted_ms)

    def status(self, at_ms: int) -> str:
        """The exchange's word for its state."""
        if at_ms < self.listed_ms:
            return "PENDING_TRADING"
        if self.delisted_ms is not None and at_ms >= self.delisted_ms:
            return "SETTLING"
        return "TRADING"


@dataclass(frozen=True, slots=True)
class _Coin:
    """A coin with its perpetual's fineness, its spot pair's, and both listing dates; None where a market lacks it."""

    coin: str
    um: tuple[int, int, int, int] | None  # price decimals, tick units, base ticks, quantity decimals
    spot: tuple[int, int, int] | None  # price decimals (the tick is one unit), base ticks, quantity decimals
    volume: int
    flat: int
    um_listed: int = 0
    spot_listed: int = 0
    um_delisted: int | None = None
    spot_delisted: int | None = None
    multiplier: int = 1
    underlying: str = "Layer-1"


_COINS = (
    _Coin(
        "BTC",
        (2, 10, 650_000, 3),
        (2, 6_500_000, 5),
        90,
        0,
        _utc(2019, 9, 8, 17, 55),
        _utc(2017, 8, 17, 4),
        underlying="PoW",
    ),
    _Coin("ETH", (2, 1, 340_000, 3), (2, 340_000, 4), 1_400, 0, _utc(2019, 11, 27, 7, 45), _utc(2017, 8, 17, 4)),
    _Coin("BNB", (3, 10, 62_000, 2), (2, 62_000, 3), 400, 20, _utc(2020, 2, 10, 8), _utc(2017, 11, 6, 3, 54)),
    _Coin("SOL", (4, 100, 15_500, 2), (2, 15_500, 3), 9_000, 4, _utc(2020, 9, 14, 7), _utc(2020, 8, 11, 6)),
    _Coin(
        "XRP",
        (4, 1, 12_500, 1),
        (4, 12_500, 1),
        700_000,
        10,
        _utc(2020, 1, 6, 8, 20),
        _utc(2018, 5, 4, 8, 11),
        underlying="Payment",
    ),
    _Coin(
        "DOGE",
        (6, 10, 17_000, 0),
        (5, 17_000, 0),
        4_000_000,
        30,
        _utc(2020, 7, 10, 9),
        _utc(2019, 7, 5, 12),
        underlying="Meme",
    ),
    _Coin(
        "PEPE",
        (7, 1, 95_000, 0),
        (8, 950, 0),
        3_000_000,
        80,
        _utc(2023, 5, 5),
        _utc(2023, 5, 5, 16),
        multiplier=1000,
        underlying="Meme",
    ),
    _Coin(
        "币安人生",
        (7, 1000, 1_600, 0),
        (4, 1_600, 0),
        60_000,
        600,
        _utc(2025, 10, 20, 11),
        _utc(2025, 10, 21, 8),
        underlying="Chinese",
    ),
    _Coin("ADA", (5, 10, 4_500, 0), (4, 4_500, 1), 500_000, 60, _utc(2020, 1, 31, 8), _utc(2018, 4, 17, 4)),
    _Coin(
        "LINK",
        (3, 1, 14_000, 2),
        (2, 1_400, 2),
        12_000,
        90,
        _utc(2020, 1, 17, 8),
        _utc(2019, 1, 16, 10),
        underlying="Infrastructure",
    ),
    _Coin(
        "NOVA",
        (5, 1, 120_000, 0),
        (4, 12_000, 1),
        20_000,
        900,
        _utc(2026, 11, 10, 8),
        _utc(2026, 11, 12, 12),
        underlying="AI",
    ),
)

_DELISTED = (
    _Coin(
        "OMG",
        (4, 1, 3_200, 1),
        None,
        9_000,
        700,
        _utc(2020, 7, 2, 9),
        um_delisted=_utc(2025, 1, 31, 9),
        underlying="Layer-2",
    ),
    _Coin(
        "WAVES", None, (3, 1_500, 2), 5_000, 500, spot_listed=_utc(2018, 12, 20, 6), spot_delisted=_utc(2024, 6, 17, 3)
    ),
)

_MORE_CHINESE = ("我踏马来了", "龙虾")


def _listings(coin: _Coin, quote: str = "USDT") -> list[Listing]:
    made: list[Listing] = []
    if coin.um:
        price, tick, base_ticks, quantity = coin.um
        base = f"{coin.multiplier}{coin.coin}" if coin.multiplier > 1 else coin.coin
        made.append(
            Listing(
                Market.UM,
                f"{base}{quote}",
                base,
                quote,
                coin.coin,
                price,
                tick,
                base_ticks,
                quantity,
                coin.volume,
                coin.flat,
                coin.um_listed,
                coin.um_delisted,
                coin.underlying,
            )
        )
    if coin.spot:
        price, base_ticks, quantity = coin.spot
        made.append(
            Listing(
                Market.SPOT,
                f"{coin.coin}{quote}",
                coin.coin,
                quote,
                coin.coin,
                price,
                1,
                base_ticks,
                quantity,
                coin.volume * coin.multiplier,
                coin.flat,
                coin.spot_listed,
                coin.spot_delisted,
                coin.underlying,
            )
        )
    return made


def _filler(number: int, name: str) -> _Coin:
    """One of the coins that fill a large universe; a tenth of them have a spot pair too."""
    um = (4, 1, 2_000 + 37 * number % 40_000, number % 3)
    spot = (4, um[2], 1) if number % 10 == 0 else None
    listed = _utc(2020, 9, 1) + (number % 1000) * 86_400_000
    underlying = "Layer-1" if name.isascii() else "Chinese"
    return _Coin(name, um, spot, 2_000 + 91 * number % 60_000, 300, listed, listed, underlying=underlying)


def default_universe() -> tuple[Listing, ...]:
    """About a dozen instruments a market, among them `1000PEPE`, a Chinese-named coin, a delisted perpetual (OMGUSDT,
    SETTLING), a delisted spot pair (WAVESUSDT, unknown to the exchange) and one listed in November 2026 (NOVAUSDT)."""
    return tuple(listing for coin in (*_COINS, *_DELISTED) for listing in _listings(coin))


def large_universe(perpetuals: int) -> tuple[Listing, ...]:
    """The first `perpetuals` perpetuals of the default universe and of as many fillers as it takes, with the spot pairs
    of their coins (one filler in ten has one), and the two delisted instruments beside them.

    From 13 on, three perpetuals have Chinese names, as on the exchange in 2026.
    """
    names = [*_MORE_CHINESE, *(f"GX{number:04d}" for number in range(1, max(0, perpetuals) + 1))]
    fillers = [_filler(number, name) for number, name in enumerate(names)]
    coins = [*_COINS, *fillers][:perpetuals]
    return tuple(listing for coin in (*coins, *_DELISTED) for listing in _listings(coin))
