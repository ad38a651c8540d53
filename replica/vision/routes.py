"""The archive's HTTP edge: headers in and out; files are built beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from replica.sending import send
from replica.vision.archive import PREFIX, Archive, Fetch
from replica.vision.bucket import LIST_PATH, Bucket


def add_archive(app: web.Application, archive: Archive) -> None:
    """Registers the archive's paths and its listing."""
    builders: list[ThreadPoolExecutor] = []
    bucket = Bucket(archive)

    async def with_builder(_: web.Application) -> AsyncIterator[None]:
        # One thread: two requests for one file, its ZIP and its checksum, never build it twice.
        with ThreadPoolExecutor(1, thread_name_prefix="vision") as pool:
            builders.append(pool)
            yield

    async def fetch(request: web.Request) -> web.StreamResponse:
        plan = archive.plan(
            Fetch(
                request.path.removeprefix(PREFIX),
                request.method == "HEAD",
                request.headers.get("Range"),
                request.headers.get("If-None-Match"),
                request.headers.get("If-Modified-Since"),
            )
        )
        answer, changed = await asyncio.get_running_loop().run_in_executor(builders[0], archive.answer, plan)
        archive.conclude(plan, answer, changed)
        return await send(request, answer)

    async def listed(request: web.Request) -> web.StreamResponse:
        return await send(request, bucket.answer(request.query))

    app.cleanup_ctx.append(with_builder)
    app.router.add_get(PREFIX + "{key:.*}", fetch)
    app.router.add_get(LIST_PATH, listed)
    app.router.add_get(LIST_PATH + "/", listed)
