"""The live Streams in Redis, as their archive reads them: groups, acknowledgements, what is there, what was lost."""

from gapless.storage.live.streams import Delivery, GroupGone, LiveStreams, StreamState, open_streams
from gapless.storage.live.trimming import StreamSize, Trim, plan_trims

__all__ = [
    "Delivery",
    "GroupGone",
    "LiveStreams",
    "StreamSize",
    "StreamState",
    "Trim",
    "open_streams",
    "plan_trims",
]
