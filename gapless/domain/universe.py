"""Which instruments a command means: names in either notation, or `all` whose lifetimes meet the window. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gapless.domain.instrument import Instrument, Market, market_of
from gapless.domain.window import Window
from gapless.errors import ConfigError


def resolve(
    spec: str, instruments: Iterable[Instrument], market: Market | None, window: Window | None = None
) -> tuple[list[Instrument], list[str]]:
    """The instruments that `spec` names, each once and in its order, and the names that nothing answers to.

    Args:
        spec: comma-separated: unified symbols (`BTC/USDT:USDT`), raw ones (`BTCUSDT`, which need a market), `all`
            (every instrument of the market whose lifetime meets the window, delisted ones included), `all:USDT`
            (those quoted in USDT). `all` keeps the order of `instruments`.
        instruments: of one market or several.
        market: the market that raw names and `all` mean; None when every name is unified (`all`: of all markets).
            A unified symbol of the other market is unknown here.
        window: what `all` is asked for; None for any lifetime.

    Raises:
        ConfigError: `spec` names nothing, or a raw name comes without a market.
    """
    names = list(dict.fromkeys(name.strip() for name in spec.split(",") if name.strip()))
    if not names:
        raise ConfigError("no symbols: write BTC/USDT:USDT, a comma-separated list, all, or all:USDT")
    listed = [each for each in instruments if market is None or each.market is market]
    by_symbol = {each.symbol: each for each in listed}
    by_raw = {each.raw_symbol: each for each in listed}
    chosen: dict[tuple[str, str], Instrument] = {}
    unknown: list[str] = []
    for name in names:
        if name == "all" or name.startswith("all:"):
            quote = name.removeprefix("all").removeprefix(":")
            quoted = [each for each in listed if not quote or each.quote == quote]
            known = bool(quoted) or not quote
            found = [each for each in quoted if window is None or meets(each, window)]
        elif market is None and market_of(name) is None:
            raise ConfigError(f"{name} is an exchange's own name: add --market spot or um, or write BTC/USDT:USDT")
        else:
            match = (by_raw if market_of(name) is None else by_symbol).get(name)
            known, found = match is not None, [match] if match else []
        if not known:
            unknown.append(name)
        chosen.update({(each.exchange, each.symbol): each for each in found})
    return list(chosen.values()), unknown


def meets(instrument: Instrument, window: Window) -> bool:
    """Whether a moment of the window lies in the instrument's life. An unknown listing date counts as for ever ago."""
    started = instrument.listed_ms is None or instrument.listed_ms < window.end_ms
    return started and (instrument.delisted_ms is None or instrument.delisted_ms > window.start_ms)


def by_market(symbols: Sequence[str], market: Market | None) -> dict[Market, str]:
    """The names of a list, apart by market and joined again; `all` means each market, or the one given.

    Raises:
        ConfigError: a raw symbol without a market, or a symbol of another market than the one given.
    """
    specs: dict[Market, list[str]] = {}
    for symbol in symbols:
        if symbol == "all" or symbol.startswith("all:"):
            markets = [market] if market else list(Market)
        else:
            named = market_of(symbol)
            if named is None and market is None:
                raise ConfigError(f"{symbol} is a raw symbol: say --market spot or --market um, or write BTC/USDT:USDT")
            if named and market and named is not market:
                raise ConfigError(f"{symbol} is a {named} symbol, but --market says {market}")
            markets = [named or market]  # type: ignore[list-item]  # one of them is set, as checked above
        for each in markets:
            specs.setdefault(each, []).append(symbol)
    return {name: ",".join(words) for name, words in specs.items()}
