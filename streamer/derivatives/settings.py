"""What the polls of open interest go by."""

from __future__ import annotations

import msgspec


class DerivativeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Polls of `streamer.derivatives`; USD-M alone."""

    open_interest: bool = True
    """Whether open interest is polled while instruments of USD-M are streamed."""
    poll_s: float = 300.0
    """How often the newest open interest of each symbol is asked for (weight 1), seconds of the exchange's clock."""
    poll_share: float = 0.8
    """In the first so much of that time, evenly."""
    expires_s: float = 660.0
    """How long last.open_interest... stays when it is not written again, seconds."""
    history_s: float = 3_600.0
    """How often the five minutes that MySQL lacks are read from the exchange's own history, seconds."""
    history_window_s: float = 21_600.0
    """How far that looks back, seconds; older holes are the daily comparison's."""
    history_settle_s: float = 900.0
    """The exchange makes its history a few minutes late: five minutes that ended later are left to the next time."""
