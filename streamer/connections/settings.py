"""How connections are kept: the section `connections` of include/exchanges.yaml."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class ConnectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits are the exchange's with room left; reference sections 7 and 8."""

    streams: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 200
    """Streams a connection; the exchange allows 1024, older pages of USD-M 200."""
    redundancy: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    """2: each stream comes by two connections at all times, so that the end of one loses nothing."""
    url_bytes: Annotated[int, msgspec.Meta(ge=0, le=16_000)] = 6_000
    """Streams are named in the URL up to this length; the others are subscribed by messages."""
    names_a_request: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    """Streams named in one message."""
    message_share: Share = 0.6
    """Of the messages a second that the exchange allows a connection; the rest is left to pings and pongs."""
    ack_s: Seconds = 10.0
    """How long an answer to a subscription may take, seconds; asked again once, then the connection is replaced."""

    connect_s: Seconds = 10.0
    """How long an attempt to connect may take, all in all, seconds."""
    connecting: Count = 8
    """Attempts under way at once."""
    attempts: Count = 150
    """Attempts within `attempts_s`, of the whole process; the exchange allows an address 300 in 5 minutes."""
    attempts_s: Seconds = 300.0
    """The window of `attempts`, seconds."""
    backoff_s: Seconds = 0.25
    """At most so long until the first new attempt, seconds; doubled for each that fails, drawn between 0 and that."""
    backoff_cap_s: Seconds = 30.0
    """The most it is doubled to, seconds."""
    healthy_s: Seconds = 10.0
    """A connection that lived so long is forgiven its end, seconds."""
    failures: Count = 5
    """Errors of the sidecar's own while it reads messages, within ten minutes; one more and it stops."""

    life_s: Seconds = 82_800.0
    """A connection is replaced at this age at the latest, seconds; the exchange ends it after 24 hours."""
    life_jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25
    """Up to this share of its life earlier, drawn for each, so that they are not replaced together."""
    overlap_s: Seconds = 30.0
    """How long both run at most while one replaces the other, seconds."""
    lately_s: Seconds = 10.0
    """Streams that spoke so lately must speak on the new connection before the old one is closed, seconds."""
    linger_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    """How long the old one runs on after that, seconds: what the new one had first may be on its way there."""
    close_s: Seconds = 5.0
    """How long a closing handshake may take, seconds."""

    tick_s: Seconds = 1.0
    """How often everything is looked at, seconds."""
    ping_after_s: Seconds = 10.0
    """A connection that was silent for so long is sent a ping, seconds."""
    dead_after_s: Seconds = 20.0
    """One that was silent for so long, pongs included, is dropped, seconds."""
    first_message_s: Seconds = 120.0
    """A stream that was subscribed and says nothing for so long is subscribed again, seconds."""
    quiet_s: Seconds = 60.0
    """A stream may always be silent for so long, seconds."""
    quiet_factor: Annotated[float, msgspec.Meta(ge=1, le=1_000)] = 20.0
    """And for so many times its longest pause of the last hour or two."""
