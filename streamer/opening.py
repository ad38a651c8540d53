"""What a session stores into, opened as its settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gapless.config import Settings
from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.exchanges.binance.rest import BinanceRest
from streamer.bars.confirming import Confirmer, save_nowhere
from streamer.derivatives.open_interest import OpenInterestPoll
from streamer.operations.request import StreamRequest
from streamer.operations.settings_file import StreamerSettings
from streamer.stores import Stores

if TYPE_CHECKING:
    from streamer.sidecar import Sidecar

_DERIVATIVES = {Kind.MARK_PRICE, Kind.LIQUIDATIONS}
"""Who streams one of these is told open interest too."""


@asynccontextmanager
async def open_stores(
    request: StreamRequest,
    settings: Settings,
    options: StreamerSettings,
    sidecar: Sidecar,
    rests: Mapping[Market, BinanceRest],
    *,
    say: Callable[[str], None],
) -> AsyncIterator[Stores]:
    """The stores of a session.

    Raises:
        ConfigError: the database's address is wrong. StorageError: the spool cannot be used.
    """
    poll = None
    if options.derivatives.open_interest and _DERIVATIVES & set(request.channels):
        poll = OpenInterestPoll(rests, options.derivatives, sidecar.outlet.keep, say=say)
    if settings.mysql_url is None:
        say("closed bars go to Redis alone: GAPLESS_MYSQL_URL is not set")
        yield Stores(poll, Confirmer(save_nowhere, rests, options.bars, sidecar.bars_confirmed))
        return
    # What speaks to MySQL weighs some fifty megabytes, for which who has no database has no use.
    from streamer.sql_stores import open_sql_stores

    url = settings.mysql_url.get_secret_value()
    with open_sql_stores(url, request, settings, options, sidecar, rests, poll, say=say) as stores:
        yield stores
