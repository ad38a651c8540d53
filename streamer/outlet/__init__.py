"""The way out into Redis: a bounded buffer, declared shedding, a spool on disk, last values."""

from streamer.outlet.outlet import Outlet
from streamer.outlet.settings import KindBound, OutletSettings
from streamer.outlet.state import OutletState
from streamer.outlet.streams import OutStream

__all__ = ["KindBound", "OutStream", "Outlet", "OutletSettings", "OutletState"]
