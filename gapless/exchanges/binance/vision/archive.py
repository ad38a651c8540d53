"""The archive's client: objects with their checksums compared, and the bucket's listing as a hint."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import quote

from yarl import URL

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision.listing import ListPage, parse_listing
from gapless.exchanges.binance.vision.objects import ArchiveObject, Period, exists, folder, parse_path
from gapless.exchanges.binance.vision.transport import OnWait, Transport

MAX_ZIP_BYTES = 64 << 20
"""The largest ZIP that is taken. The largest kind read here, a month of 1m bars, has 3 MB."""

_MAX_CHECKSUM_BYTES = 4096
_MAX_LIST_BYTES = 8 << 20
_MAX_LIST_PAGES = 200
_REPLACING_S = 1.0
_CHECKSUM = re.compile(r"([0-9A-Fa-f]{64}) [ *](.+)")


class Checksum(StrEnum):
    """What comparing a ZIP with its CHECKSUM file said."""

    VERIFIED = "verified"
    MISMATCH = "mismatch"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Download:
    """A ZIP as received.

    Attributes:
        etag: the server's, without quotes.
        sha256: of `data`, hex.
        told: the sha256 that the CHECKSUM file names, hex in lower case; "" when there is none or it is not readable as
            `<64 hex>  <name>` of this very file (the state is then MISMATCH).
    """

    object: ArchiveObject
    data: bytes
    etag: str
    sha256: str
    checksum: Checksum
    told: str


class Archive:
    """The archive behind one address. An async context manager; not usable from two event loops.

    Honours the proxy variables of the environment. A network that is away is waited for.

    Args:
        base_url: what stands before `/data/...`: https://data.binance.vision
        list_url: the bucket's own address, for listings; None where there is none.
        concurrency: requests under way at once.
        timeout_s: for connecting, and for each silence of an answer.
        attempts: tries for errors that pass (5xx, 429, cut answers) while the network is there.
        patience_s: how long a network that is away is waited for.
        on_wait: told, as a sentence, once when the network goes away and once when it is back, when the server asks for
            a pause, and when a listing could not be had.
    """

    def __init__(
        self,
        base_url: str,
        *,
        list_url: str | None,
        concurrency: int = 16,
        timeout_s: float = 20.0,
        attempts: int = 5,
        patience_s: float = 600.0,
        on_wait: OnWait | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._list_url = list_url
        self._on_wait = on_wait
        self._sleep = sleep
        self._transport = Transport(
            base_url,
            concurrency=concurrency,
            timeout_s=timeout_s,
            attempts=attempts,
            patience_s=patience_s,
            on_wait=on_wait,
            monotonic=monotonic,
            sleep=sleep,
            jitter=jitter,
        )

    @property
    def requests(self) -> int:
        """Requests sent so far, failed attempts included."""
        return self._transport.requests

    @property
    def bytes(self) -> int:
        """Bytes of bodies received so far."""
        return self._transport.bytes

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def fetch(self, obj: ArchiveObject) -> Download | None:
        """The ZIP with its checksum compared; None when the archive has no such object, now (404).

        ZIP and CHECKSUM are asked for at once. Where they disagree, both are fetched once more before that is
        believed: the archive replaces files without notice, and not both in one moment.

        Raises:
            RegionRefused, RateLimited, ExchangeError: it could be neither had nor proved absent.
        """
        first = await self._fetch_both(obj)
        if first is None or first.checksum is not Checksum.MISMATCH:
            return first
        await self._sleep(_REPLACING_S)
        return await self._fetch_both(obj)

    async def told_sha256(self, obj: ArchiveObject) -> str | None:
        """The sha256 that the CHECKSUM file names now, to see whether an object was replaced since.

        None when there is no CHECKSUM file, "" when it is not readable as one of this very file.

        Raises:
            RegionRefused, RateLimited, ExchangeError: as `fetch`.
        """
        body = await self._transport.get(self._url(f"{obj.path}.CHECKSUM"), f"{obj.path}.CHECKSUM", _MAX_CHECKSUM_BYTES)
        return None if body is None else read_checksum(body.data, obj)

    async def symbols(self, market: Market, kind: str, period: Period | None = None) -> list[str]:
        """Raw symbols that the listing names, dead ones included: a hint, never the truth.

        Empty when there is no list address, or the listing cannot be had (said through `on_wait`).

        Args:
            period: where to look; unless given, among the months, or the days of what has no months.
        """
        period = period or ("month" if exists(market, kind, "month") else "day")
        prefix = folder(market, kind, period)
        pages = await self._list(prefix) if exists(market, kind, period) else []
        return [each.removeprefix(prefix).rstrip("/") for page in pages for each in page.folders]

    async def periods(
        self, market: Market, kind: str, raw_symbol: str, interval: Interval | None, period: Period
    ) -> list[int]:
        """First moments (ms, ascending) of the months or days of one series that the listing names: a hint likewise."""
        pages = (
            await self._list(folder(market, kind, period, raw_symbol, interval)) if exists(market, kind, period) else []
        )
        found = (parse_path(key) for page in pages for key in page.keys)
        return sorted({obj.start_ms for obj in found if obj is not None})

    async def _fetch_both(self, obj: ArchiveObject) -> Download | None:
        # Gathered with exceptions as values: the ZIP's answer counts first, and neither task is left behind.
        body, told = await asyncio.gather(
            self._transport.get(self._url(obj.path), obj.path, MAX_ZIP_BYTES),
            self.told_sha256(obj),
            return_exceptions=True,
        )
        if isinstance(body, BaseException):
            raise body
        if body is None:
            return None
        if isinstance(told, BaseException):
            raise told
        if not body.whole:
            raise ExchangeError(
                f"binance archive {obj.path}: larger than {MAX_ZIP_BYTES} bytes, which no such file is; "
                f"take {obj.window} from another source (daily files, REST)"
            )
        checksum = Checksum.ABSENT if told is None else Checksum.VERIFIED if told == body.sha256 else Checksum.MISMATCH
        return Download(obj, body.data, body.etag, body.sha256, checksum, told or "")

    async def _list(self, prefix: str) -> list[ListPage]:
        if self._list_url is None:
            return []
        try:
            return await self._list_pages(self._list_url, prefix)
        except (ExchangeError, ValueError) as error:
            if self._on_wait is not None:
                self._on_wait(f"no listing of {prefix} ({error}); going on without it")
            return []

    async def _list_pages(self, list_url: str, prefix: str) -> list[ListPage]:
        pages: list[ListPage] = []
        marker = ""
        while len(pages) < _MAX_LIST_PAGES:
            query = {"delimiter": "/", "prefix": prefix, "max-keys": "1000"} | ({"marker": marker} if marker else {})
            body = await self._transport.get(URL(list_url).update_query(query), f"listing of {prefix}", _MAX_LIST_BYTES)
            if body is None:
                raise ValueError("HTTP 404: there is no such bucket")
            if not body.whole:
                raise ValueError(f"a page is larger than {_MAX_LIST_BYTES} bytes")
            page = parse_listing(body.data)
            pages.append(page)
            if page.next_marker is None:
                return pages
            if page.next_marker <= marker:
                raise ValueError(f"it does not go on behind {marker}")
            marker = page.next_marker
        raise ValueError(f"more than {_MAX_LIST_PAGES} pages")

    def _url(self, path: str) -> URL:
        return URL(f"{self._base_url}/{quote(path)}", encoded=True)


def read_checksum(data: bytes, obj: ArchiveObject) -> str:
    """The sha256 of a CHECKSUM file (`<64 hex>  <name>`, reference 10.3) in lower case; "" if it is not this file's."""
    try:
        found = _CHECKSUM.fullmatch(data.decode().strip())
    except UnicodeDecodeError:
        return ""
    return found[1].lower() if found is not None and found[2] == obj.name else ""
