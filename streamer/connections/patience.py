"""How soon to try again: backoff of a slot, the process's budget of attempts, refusals of a whole market. Pure."""

from __future__ import annotations

from collections import deque

from gapless.domain.instrument import Market

_STEPS_OF_WHO_SPOKE = 2
_LIMITED_S = 60.0
_BANNED_S = 120.0
_REFUSED_S = 60.0
_LONGEST_BAN_S = 3 * 86_400.0


class Backoff:
    """Capped, exponential, with full jitter: drawn between nothing and a bound that doubles.

    An end after a healthy while is forgiven altogether. That of a connection which brought messages grows the bound to
    four times the first at most: the exchange is there, and what is missing grows by the second. How often that may
    happen the budget of attempts says.
    """

    def __init__(self, first_s: float, cap_s: float, healthy_s: float) -> None:
        self._first_s, self._cap_s, self._healthy_s = first_s, cap_s, healthy_s
        self._steps = 0

    def failed(self) -> None:
        """An attempt did not connect."""
        self._steps += 1

    def ended(self, lived_s: float, *, spoke: bool) -> None:
        """A connection ended by itself. `spoke`: it had brought messages."""
        if lived_s >= self._healthy_s:
            self._steps = 0
        elif spoke:
            self._steps = min(self._steps + 1, _STEPS_OF_WHO_SPOKE)
        else:
            self._steps += 1

    @property
    def bound_s(self) -> float:
        return min(self._cap_s, self._first_s * 2.0 ** min(self._steps, 60))

    def delay_s(self, drawn: float) -> float:
        """`drawn`: at random from [0, 1)."""
        return self.bound_s * drawn


class AttemptBudget:
    """At most so many attempts in any window; whoever may not waits."""

    def __init__(self, attempts: int, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=attempts)

    def wait_s(self, now_s: float) -> float:
        """0: one may be made now."""
        if len(self._times) < (self._times.maxlen or 0):
            return 0.0
        return max(0.0, self._times[0] + self._window_s - now_s)

    def took(self, now_s: float) -> None:
        self._times.append(now_s)


class Refusals:
    """Until when a market is left alone, because it answered an attempt with 429, 418, 403 or 451.

    `Retry-After` is honoured to the second. Without one: a minute, of bans two, doubled for each that follows.
    """

    def __init__(self) -> None:
        self._until_s: dict[Market, float] = {}
        self._bans: dict[Market, int] = {}

    def note(self, market: Market, status: int, retry_after_s: float | None, now_s: float) -> float:
        """For how long it is left alone, seconds; 0: this status is no reason."""
        if status not in (403, 418, 429, 451):
            return 0.0
        length = _LIMITED_S if status == 429 else _REFUSED_S
        if status == 418:
            self._bans[market] = self._bans.get(market, 0) + 1
            length = min(_LONGEST_BAN_S, _BANNED_S * 2.0 ** min(self._bans[market] - 1, 20))
        if retry_after_s is not None:
            length = retry_after_s
        self._until_s[market] = max(self._until_s.get(market, 0.0), now_s + length)
        return length

    def connected(self, market: Market) -> None:
        self._bans.pop(market, None)

    def wait_s(self, market: Market, now_s: float) -> float:
        return max(0.0, self._until_s.get(market, 0.0) - now_s)
