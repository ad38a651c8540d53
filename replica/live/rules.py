"""What the exchange asks of WebSocket clients, by market. All in real time: connections live on the host's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gapless.domain.instrument import Market
from gapless.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0, le=864_000)]
Whole = Annotated[int, Meta(ge=1)]


class LiveRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules of one market. Source: reference sections 7 and 8.

    Attributes:
        ping_every_s, pong_within_s: pings with a payload; a pong must echo it, or the connection is closed.
        life_s: connections end after so long.
        messages_per_s: what a client may send, pings and pongs among it; more, and it is disconnected.
        streams: a connection carries at most so many.
        attempts_per_5m: handshakes of an address; beyond, they are answered 429.
        unsent_bytes: what waits for a slow reader; beyond, it is disconnected.
    """

    ping_every_s: Seconds
    pong_within_s: Seconds
    life_s: Seconds = 86_400.0
    messages_per_s: Whole
    streams: Whole = 1024
    attempts_per_5m: Whole = 300
    unsent_bytes: Whole = 16 << 20


EXCHANGE_RULES = {
    Market.SPOT: LiveRules(ping_every_s=20.0, pong_within_s=60.0, messages_per_s=5),
    Market.UM: LiveRules(ping_every_s=180.0, pong_within_s=600.0, messages_per_s=10),
}
"""As the exchange has them. USD-M's attempts are not documented and taken to be spot's."""


def changed_rules(now: Mapping[Market, LiveRules], wish: Any) -> dict[Market, LiveRules]:
    """The rules with some changed: `{"spot": {"ping_every_s": 0.2}}`.

    Raises:
        ConfigError: an unknown market or rule, or a value that is none.
    """
    if not isinstance(wish, dict) or not set(wish) <= {market.value for market in Market}:
        raise ConfigError("live limits are an object such as {'spot': {'ping_every_s': 0.2}}")
    changed = dict(now)
    for name, change in wish.items():
        if not isinstance(change, dict):
            raise ConfigError(f"live limits of {name} must be an object such as {{'life_s': 5}}")
        try:
            changed[Market(name)] = msgspec.convert({**msgspec.to_builtins(now[Market(name)]), **change}, LiveRules)
        except msgspec.ValidationError as error:
            raise ConfigError(f"live limits of {name}: {error}") from None
    return changed
