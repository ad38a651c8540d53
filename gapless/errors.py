"""The errors of the house: one small tree, each saying what, where, and what to do.

A user meets the message alone (the command line prints no traceback for these), so the message
names the instrument and window it concerns. What a program needs stands in attributes.
"""

from __future__ import annotations


class GaplessError(Exception):
    """Base of every error that Gapless raises on purpose."""

    kind = "error"


class ConfigError(GaplessError):
    """A setting, argument or file is wrong; nothing was done."""

    kind = "config"


class ExchangeError(GaplessError):
    """The exchange answered with an error, or not at all, and retrying did not help."""

    kind = "exchange"


class Unreachable(ExchangeError):
    """No answer, or only answers that pass (5xx, maintenance, cut bodies), for as long as one call retries."""

    kind = "unreachable"


class BadSymbol(ExchangeError):
    """The exchange does not know the symbol on this market (code -1121): delisted, or misspelt."""

    kind = "bad_symbol"


class NotInBulk(ExchangeError):
    """The exchange does not answer for all symbols at once as it is documented to: ask for each symbol by itself."""

    kind = "not_in_bulk"


class RegionRefused(ExchangeError):
    """The exchange refuses this address's region or network (HTTP 451, or 403 of its firewall)."""

    kind = "refused"


class RateLimited(ExchangeError):
    """The request budget is spent for longer than the caller was willing to wait.

    Attributes:
        retry_after_s: seconds from now until the budget is expected back, never negative.
    """

    kind = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(0.0, retry_after_s)


class Banned(RateLimited):
    """The exchange has banned this address (HTTP 418) until `retry_after_s` from now."""

    kind = "banned"


class NotYet(GaplessError):
    """What was asked for is not over by the exchange's clock.

    Attributes:
        retry_after_s: seconds from now until it will be, never negative.
    """

    kind = "not_yet"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(0.0, retry_after_s)


class ValidationError(GaplessError):
    """Data breaks a rule of its schema and cannot be taken as it is."""

    kind = "validation"


class StorageError(GaplessError):
    """MySQL, Redis or the lake did not do what was asked; nothing is half-done."""

    kind = "storage"


class OriginMismatch(StorageError):
    """Data of another origin (generated against real, or another generated market) is refused."""

    kind = "origin"


class LakeShrink(StorageError):
    """A write would leave a lake object with fewer bars than the one it replaces; it was refused."""

    kind = "lake_shrink"


class NotFound(GaplessError):
    """What was asked for is not there."""

    kind = "not_found"


class PagerError(GaplessError):
    """A receiver of pages did not take an event.

    Attributes:
        away: it did not answer, or only that it could not; it may take the same later. Else it refused this event.
    """

    kind = "pager"

    def __init__(self, message: str, *, away: bool) -> None:
        super().__init__(message)
        self.away = away
