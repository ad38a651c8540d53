"""How the sidecar is run: the section `operations` of include/exchanges.yaml."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class OperationsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a start takes where the command line says nothing, and how often it looks at what."""

    channels: tuple[str, ...] = ("depth", "trades", "klines", "book_ticker", "mark_price", "liquidations")
    """What is streamed of each instrument."""
    intervals: tuple[str, ...] = ("1m",)
    """Bars that are streamed; others come hourly."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = 9465
    """Where health and metrics are answered; 0: any free port, null: nowhere."""
    host: str = "127.0.0.1"
    """The address for that. Nobody is asked for a login."""
    follow_s: Seconds = 2.0
    """How often the list of instruments is looked at for a change, seconds."""
    listings_s: Seconds = 600.0
    """How often the exchange is asked for new listings and for what stopped trading, seconds."""
    first_pause_s: Seconds = 1.0
    """How soon an exchange that is away at the start is asked again, seconds; doubled each time."""
    longest_pause_s: Seconds = 30.0
    """The longest such pause, seconds."""
    clock_s: Seconds = 180.0
    """How often the exchange's clock is read, seconds."""
    status_s: Seconds = 2.0
    """How often the status is written to Redis, seconds."""
    status_expires_s: Seconds = 10.0
    """How long it stays there when it is not written again, seconds."""
    stop_s: Seconds = 20.0
    """How long a stop may take to write what is under way, seconds."""
    ready_books: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    """The share of books that must be live for `/readyz`, 0 to 1."""
    ready_ack_s: Seconds = 10.0
    """How long ago Redis may have acknowledged last for `/readyz`, seconds."""
    symbol_series: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 2_000
    """Symbols that metrics tell apart; the others together are `(others)`."""
