"""How connections are made, whichever library makes them."""

from __future__ import annotations

import msgspec


class TransportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    library: str = "picows"
    """`picows`, or `websockets`: the same behaviour at a third to a tenth of the messages a second of processor."""

    max_message_bytes: int = 8 * 1024 * 1024
    """A longer message, whole or in fragments, ends the connection (1009)."""
