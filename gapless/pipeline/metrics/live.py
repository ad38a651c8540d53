"""Samples of the archive of the live Streams, as its consumers say in Redis how they stand."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gapless.config import Settings
from gapless.errors import GaplessError
from gapless.monitoring.exposition import Sample
from gapless.pipeline.stream_archive.watch import STATE_PREFIX, ArchiveStatus, KindStatus
from gapless.storage.live import open_streams

_TIMEOUT_S = 1.0


def stream_archive(settings: Settings) -> Iterator[Sample]:
    """How the consumers stand; none when Redis does not answer, nothing at all when there is no Redis."""
    if settings.redis_url is None:
        return
    streams = open_streams(settings.redis_url.get_secret_value(), "metrics", timeout_s=_TIMEOUT_S)
    try:
        found = [msgspec.json.decode(state, type=ArchiveStatus) for state in streams.states(STATE_PREFIX)]
    except (GaplessError, msgspec.DecodeError):
        found = []  # a scrape tells what is, and an archive that nobody can see is none
    finally:
        streams.close()
    yield Sample("stream_archive_consumers", len(found))
    if not found:
        return
    yield Sample("stream_archive_alarms", sum(len(status.alarms) for status in found))
    yield Sample("stream_archive_spool_bytes", max(status.spool_bytes for status in found))
    kinds: dict[str, list[KindStatus]] = {}
    for status in found:
        for each in status.kinds:
            kinds.setdefault(str(each.kind), []).append(each)
    for kind, each_of in sorted(kinds.items()):
        yield Sample("stream_archive_oldest_untaken_seconds", max(e.oldest_untaken_s for e in each_of), (kind,))
        yield Sample("stream_archive_lost_entries", sum(e.lost for e in each_of), (kind,))
