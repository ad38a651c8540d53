"""The bucket's listing under clock and faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replica.answer import Answer
from replica.fault_schema import Action, at_ms
from replica.faults import Occasion
from replica.vision.archive import Archive
from replica.vision.delivery import delivered
from replica.vision.listing import Listed, WrongListing, list_query, listing, nothing_known, refused_listing
from replica.vision.objects import ArchiveFile
from replica.vision.zipped import checksum_text, etag

LIST_PATH = "/vision-list"


@dataclass(slots=True)
class Bucket:
    """The listing of an archive."""

    archive: Archive

    def answer(self, params: Mapping[str, str]) -> Answer:
        """S3's answer to a listing request, counted."""
        exchange = self.archive.exchange
        now_ms = exchange.clock.now_ms()
        actions = self._faults(now_ms)
        stale = [at_ms(action.stale_list) for action in actions if action.stale_list is not None]
        shown_ms = min([now_ms, *(at for at in stale if at is not None)])
        try:
            answer = listing(exchange.source, shown_ms, list_query(params), self._tell)
        except WrongListing as error:
            answer = refused_listing(error)
        for action in actions:
            if action.stale_list is None:
                answer = delivered(answer, action)
        exchange.stats.archive.count("list", answer.status, len(answer.body))
        return answer

    def _faults(self, now_ms: int) -> list[Action]:
        faults = self.archive.exchange.faults
        met: list[Action] = []
        for number, action in faults.meeting(Occasion(LIST_PATH, None, "", "", now_ms, "list")):
            if not action.concerns_listing or (met and met[-1].ends):
                continue
            met.append(action)
            faults.applied(number)
        return met

    def _tell(self, file: ArchiveFile, checksum: bool) -> Listed:
        modified_ms, known = self.archive.modified_ms(file), self.archive.known(file)
        name = f"{file.stem}.zip"
        if checksum:
            size = len(checksum_text("0" * 64, name))
            return Listed(modified_ms, nothing_known(modified_ms).etag, size)
        recorded = self.archive.exchange.source.recorded_zip(file.path)
        if recorded is not None:
            data = recorded.read_bytes()
            return Listed(modified_ms, etag(data), len(data))
        return nothing_known(modified_ms) if known is None else Listed(modified_ms, *known)
