"""Connections to the exchange: which streams come by which, how long each lives, who notices when one falls silent."""

from __future__ import annotations

from streamer.connections.connections import Connections
from streamer.connections.seams import ConnectionsState, Intake, LaneView, Take
from streamer.connections.settings import ConnectionSettings

__all__ = ["ConnectionSettings", "Connections", "ConnectionsState", "Intake", "LaneView", "Take"]
