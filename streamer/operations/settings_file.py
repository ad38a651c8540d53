"""`include/exchanges.yaml`, read and checked: how each part of the sidecar behaves."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gapless.errors import ConfigError
from gapless.pipeline.yaml_rules import parse_rules
from streamer.bars.settings import BarSettings
from streamer.books.settings import BookSettings
from streamer.connections.settings import ConnectionSettings
from streamer.continuity.settings import ContinuitySettings
from streamer.derivatives.settings import DerivativeSettings
from streamer.operations.settings import OperationsSettings
from streamer.outlet.settings import OutletSettings
from streamer.transport.settings import TransportSettings


class StreamerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Each part's settings; a section or a key that is left out has its default."""

    operations: OperationsSettings = OperationsSettings()
    """What is streamed, and how the process is looked at."""
    transport: TransportSettings = TransportSettings()
    """WebSocket, whichever library speaks it."""
    connections: ConnectionSettings = ConnectionSettings()
    """Which streams on which connection; when one is doubted, made again, replaced."""
    books: BookSettings = BookSettings()
    """How books are built, kept, checked and published."""
    continuity: ContinuitySettings = ContinuitySettings()
    """How holes of trades and bars are found and filled."""
    outlet: OutletSettings = OutletSettings()
    """The way into Redis: bounds, what is let go first, what waits on disk."""
    bars: BarSettings = BarSettings()
    """Closed bars and liquidations on their way to MySQL, and the patrol."""
    derivatives: DerivativeSettings = DerivativeSettings()
    """Open interest, which has no stream."""


def load_options(path: Path, *, named: bool = False) -> StreamerSettings:
    """The settings in a YAML file; the defaults when there is no file, unless somebody named it.

    Raises:
        ConfigError: not YAML, an unknown key, or a wrong value; one line names the file, the key and what to write.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise ConfigError(f"{path}: no such file; GAPLESS_EXCHANGES_FILE names the sidecar's settings") from None
        return StreamerSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_options(text, where=str(path))


def parse_options(text: str, *, where: str) -> StreamerSettings:
    """The settings in YAML text.

    Raises:
        ConfigError: see `load_options`; `where` is named.
    """
    return parse_rules(text, StreamerSettings, where=where, example="include/exchanges.yaml")
