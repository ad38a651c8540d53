"""WebSocket connections behind one seam: two libraries, the same behaviour, kept so by one suite of tests.

>>> transport = transport_of("picows")
>>> wire = await transport.connect("wss://...", receiver, proxy=None, timeout_s=10)     # receiver may hear at once
>>> ended = await wire.run()                                                            # until it ended, whoever did it
"""

from __future__ import annotations

from collections.abc import Callable
from ssl import SSLContext

from gapless.errors import ConfigError
from streamer.transport.seam import ConnectFailed, Ended, Receiver, Transport, Wire
from streamer.transport.settings import TransportSettings

__all__ = ["ConnectFailed", "Ended", "Receiver", "Transport", "TransportSettings", "Wire", "transport_of"]


def _picows(settings: TransportSettings, tls: SSLContext | None) -> Transport:
    from streamer.transport.by_picows import PicowsTransport

    return PicowsTransport(settings, tls=tls)


def _websockets(settings: TransportSettings, tls: SSLContext | None) -> Transport:
    from streamer.transport.by_websockets import WebsocketsTransport

    return WebsocketsTransport(settings, tls=tls)


_MAKERS: dict[str, Callable[[TransportSettings, SSLContext | None], Transport]] = {
    "picows": _picows,
    "websockets": _websockets,
}


def transport_of(settings: TransportSettings | str = "picows", *, tls: SSLContext | None = None) -> Transport:
    """The transport that the settings (or a library's name alone) choose; only its library is imported.

    Args:
        tls: for `wss://`; None: the interpreter's default context, which verifies against the system's authorities.

    Raises:
        ConfigError: no such library.
    """
    chosen = TransportSettings(library=settings) if isinstance(settings, str) else settings
    maker = _MAKERS.get(chosen.library)
    if maker is None:
        raise ConfigError(f"transport library {chosen.library!r}: write one of {', '.join(_MAKERS)}")
    return maker(chosen, tls)
