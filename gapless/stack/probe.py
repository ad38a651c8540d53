"""Is the exchange within reach? Asked once at a start, to say in one line why a demonstration is shown instead."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

from gapless.config import BINANCE_SPOT_REST, BINANCE_UM_REST, Settings
from gapless.errors import ExchangeError

_PINGS = (("spot", "/api/v3/ping"), ("um", "/fapi/v1/ping"))


def ping(url: str, timeout_s: float) -> str | None:
    """Why `url` is out of reach, None when it answers. Proxies of the environment are honoured."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310  # a validated setting
            return None
    except urllib.error.HTTPError as error:
        if error.code == 451:
            return "it refuses this region (HTTP 451)"
        if error.code == 403:
            return "its firewall refuses this address (HTTP 403)"
        if error.code in (418, 429):
            return None  # it is there; the pacing waits for the end of the ban
        return f"it answers HTTP {error.code}"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return "it does not answer in time" if isinstance(reason, TimeoutError) else f"no connection ({reason})"


def out_of_reach(
    user: Settings, *, timeout_s: float = 5, probe: Callable[[str, float], str | None] = ping
) -> str | None:
    """Why the real exchange cannot be used from here, in one clause; None when both its markets answer.

    Raises:
        ExchangeError: a URL that the user has set does not answer: a demonstration is not what was asked for then.
    """
    for market, path in _PINGS:
        base = user.rest_url(market)
        reason = probe(base + path, timeout_s)
        if reason is None:
            continue
        if base not in (BINANCE_SPOT_REST, BINANCE_UM_REST):
            variable = f"GAPLESS_BINANCE_{market.upper()}_REST_URL"
            raise ExchangeError(f"{variable} is {base}, and {reason}: start what serves it, or unset the variable")
        return f"{base.removeprefix('https://')}: {reason}"
    return None
