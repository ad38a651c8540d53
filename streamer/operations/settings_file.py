"""`include/exchanges.yaml`, read and checked: how each part of the sidecar behaves."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

from gapless.errors import ConfigError
from streamer.bars.settings import BarSettings
from streamer.books.settings import BookSettings
from streamer.connections.settings import ConnectionSettings
from streamer.continuity.settings import ContinuitySettings
from streamer.derivatives.settings import DerivativeSettings
from streamer.operations.settings import OperationsSettings
from streamer.outlet.settings import OutletSettings
from streamer.transport.settings import TransportSettings

_WHERE = re.compile(r"^(?P<why>.*?) - at `\$\.?(?P<key>[^`]*)`$")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_WORDS = {
    "`object | null`": "keys and values below it",
    "`object`": "keys and values below it",
    "`int | null`": "a whole number, or null",
    "`int`": "a whole number",
    "`float | null`": "a number, or null",
    "`float`": "a number",
    "`str | null`": "text, or null",
    "`str`": "text",
    "`array`": "a list",
    "`bool`": "true or false",
    "`null`": "nothing",
}


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
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if isinstance(document, dict):  # a section whose every key is commented out is read as null
        document = {key: value for key, value in document.items() if value is not None}
    try:
        return msgspec.convert({} if document is None else document, StreamerSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_said(str(error))}") from None


def _said(message: str) -> str:
    """What is wrong, by the key as it stands in the file."""
    found = _WHERE.match(message)
    why, key = (found["why"], found["key"]) if found else (message, "")
    unknown = _UNKNOWN.search(why)
    if unknown:
        name = f"{key}.{unknown['field']}" if key else unknown["field"]
        return f"{name} is not known; write one of the keys in include/exchanges.yaml, spelt as there"
    wanted = why.removeprefix("Expected ")
    for type_, words in _WORDS.items():
        wanted = wanted.replace(type_, words)
    return f"{key or 'the file'} is wrong: write {wanted}"
