"""How a new listing changes what is known of instruments and their lives. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gapless.domain.instrument import Instrument
from gapless.domain.window import DAY_MS, iso
from gapless.errors import ValidationError

VANISHED = "DELISTED"
"""Our word for an instrument that the exchange no longer lists, since it says none."""

SHORT_ABSENCE_MS = 7 * DAY_MS
"""An instrument without a listing date of its own that is back within a week was never gone."""


@dataclass(frozen=True, slots=True)
class Life:
    """One stretch of an instrument's existence; bars are expected in it and nowhere else.

    Attributes:
        listed_ms: its beginning, None where the exchange does not say.
        delisted_ms: its end, None while it lives.
    """

    raw_symbol: str
    listed_ms: int | None
    delisted_ms: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """An instrument on record: as last listed, when that was (ms), and its lives, oldest first (at least one)."""

    instrument: Instrument
    seen_ms: int
    lives: tuple[Life, ...]


def merge_listing(known: Mapping[str, Known], listing: Sequence[Instrument], now_ms: int) -> dict[str, Known]:
    """What is known after reading a whole listing of one market: the entries of every instrument on record or listed.

    Rules: the exchange's own dates win; a listing date learnt later fills in; a listing date after the last life's end
    begins another life; an instrument that vanished ended when that was noticed, unless its end was known; one that had
    vanished before, or is listed but does not trade, does not begin to live again; nothing is ever removed.

    Args:
        known: by symbol, all of this exchange and market.
        listing: every instrument that the exchange lists there now.
        now_ms: the exchange's clock.

    Raises:
        ValidationError: the listing is empty, or names an instrument twice: taking it would end every life.
    """
    listed = {instrument.symbol: instrument for instrument in listing}
    if not listed or len(listed) != len(listing):
        raise ValidationError("the exchange's list of instruments is empty or names one twice; it was not taken")
    merged = {symbol: _seen(known.get(symbol), instrument, now_ms) for symbol, instrument in listed.items()}
    for symbol, entry in known.items():
        if symbol not in listed:
            merged[symbol] = _vanished(entry, now_ms)
    return merged


def _seen(entry: Known | None, instrument: Instrument, now_ms: int) -> Known:
    offered = Life(instrument.raw_symbol, instrument.listed_ms, instrument.delisted_ms)
    if entry is None:
        lives: tuple[Life, ...] = (offered,)
    else:
        *before, last = entry.lives
        previous = before[-1] if before else None
        lives = (*before, *_continue(last, offered, previous, entry.seen_ms, now_ms, trading=instrument.trading))
    current = replace(instrument, listed_ms=lives[-1].listed_ms, delisted_ms=lives[-1].delisted_ms)
    return Known(current, now_ms, lives)


def _continue(
    last: Life, offered: Life, previous: Life | None, seen_ms: int, now_ms: int, *, trading: bool
) -> tuple[Life, ...]:
    """The last life as it stands now, and a new one where the ticker lives again."""
    listed = offered.listed_ms
    if listed is None:
        if last.delisted_ms is None or offered.delisted_ms is not None:
            return (replace(last, raw_symbol=offered.raw_symbol, delisted_ms=offered.delisted_ms),)
        if not trading:  # listed for years after its last bar, as spot does (`BREAK`)
            return (replace(last, raw_symbol=offered.raw_symbol),)
        if now_ms - last.delisted_ms <= SHORT_ABSENCE_MS:
            return (replace(last, raw_symbol=offered.raw_symbol, delisted_ms=None),)
        return (last, Life(offered.raw_symbol, now_ms, None))
    if last.listed_ms in (None, listed):
        ended = last.delisted_ms is not None and last.listed_ms is None and listed >= last.delisted_ms
        return (last, offered) if ended else (offered,)
    ended_ms = last.delisted_ms if last.delisted_ms is not None else seen_ms
    if listed >= ended_ms:
        return (replace(last, delisted_ms=ended_ms), offered)
    # A date was corrected while the instrument lived; it cannot reach into the life before.
    begins = listed if previous is None or previous.delisted_ms is None else max(listed, previous.delisted_ms)
    return (replace(offered, listed_ms=begins),)


def _vanished(entry: Known, now_ms: int) -> Known:
    *before, last = entry.lives
    if last.delisted_ms is None and entry.instrument.status != VANISHED:
        last = replace(last, delisted_ms=now_ms)
    gone = replace(entry.instrument, status=VANISHED, delisted_ms=last.delisted_ms)
    return Known(gone, entry.seen_ms, (*before, last))


def learn(entry: Known, listed_ms: int | None, delisted_ms: int | None) -> Known:
    """The entry with unknown dates of its last life filled in; known ones stay.

    Raises:
        ValidationError: the life would end before it begins, or an instrument that trades would have ended.
    """
    *before, last = entry.lives
    if last.listed_ms is None and listed_ms is not None:
        previous = before[-1].delisted_ms if before else None
        last = replace(last, listed_ms=listed_ms if previous is None else max(listed_ms, previous))
    if last.delisted_ms is None and delisted_ms is not None:
        if entry.instrument.trading:
            raise ValidationError(f"{entry.instrument.symbol} trades: it cannot have ended at {iso(delisted_ms)}")
        last = replace(last, delisted_ms=delisted_ms)
    if last.listed_ms is not None and last.delisted_ms is not None and last.delisted_ms <= last.listed_ms:
        raise ValidationError(
            f"{entry.instrument.symbol} cannot have lived from {iso(last.listed_ms)} to {iso(last.delisted_ms)}; "
            "nothing was learnt"
        )
    instrument = replace(entry.instrument, listed_ms=last.listed_ms, delisted_ms=last.delisted_ms)
    return Known(instrument, entry.seen_ms, (*before, last))


def archived(instrument: Instrument) -> Known:
    """An instrument that only the archive knows: it had vanished before anybody asked the exchange."""
    seen_ms = instrument.delisted_ms if instrument.delisted_ms is not None else instrument.listed_ms or 0
    life = Life(instrument.raw_symbol, instrument.listed_ms, instrument.delisted_ms)
    return Known(replace(instrument, status=VANISHED), seen_ms, (life,))
