"""The four steps over a list of batches, one after another in this process: what the command line and CronJobs run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from gapless.domain.receipts import Batch, Failure, LoadReceipt
from gapless.errors import ExchangeError, GaplessError
from gapless.pipeline.batches import by_window
from gapless.pipeline.etl import archive_s3, extract_raw, load_mysql, transform_normalise
from gapless.pipeline.runtime import Runtime

OnStep = Callable[[str], None]
OnBatch = Callable[[int, int], None]


class EtlReport(msgspec.Struct, frozen=True):
    """What a run of the bar pipeline did, as the command line prints it.

    Attributes:
        rows_extracted: closed bars the exchange gave for the window, sound or not.
        rows_loaded: bars new or changed in MySQL; 0 for a window that is stored already.
        restated: of those, the ones that replaced other values.
        files: lake objects that hold the window's bars, each read back.
        complete: every window was over by the exchange's clock when it was read.
        seconds: wall time.
    """

    rows_extracted: int = 0
    rows_loaded: int = 0
    rows_quarantined: int = 0
    restated: int = 0
    files: int = 0
    complete: bool = True
    seconds: float = 0.0
    errors: tuple[Failure, ...] = ()


def run_etl(rt: Runtime, batches: Sequence[Batch], *, on_step: OnStep, on_batch: OnBatch) -> EtlReport:
    """Take every batch through the four steps, in order of time; the lake is written once for all batches of a window.

    A failure of the exchange costs its own series. When the exchange refuses us altogether (ban, empty budget, region),
    or a store fails, what was loaded is archived if it can be, the rest is reported in `errors`; nothing is half-done.
    """
    started = time.monotonic()
    loads: list[LoadReceipt] = []
    failures: list[Failure] = []
    files: set[str] = set()
    done = 0
    try:
        for _, group in by_window(batches):
            loaded = []
            try:
                for batch in group:
                    on_batch(done, len(batches))
                    loaded.append(_load(rt, batch, on_step))
                    done += 1
            finally:
                loads += loaded
                if loaded:
                    on_step(f"archive {loaded[0].batch.window}")
                    files.update(archive_s3(rt, loaded).objects)
    except GaplessError as error:
        failures += _lost(batches, loads, error)
    on_batch(done, len(batches))
    failures += [failure for load in loads for failure in load.failures]
    return EtlReport(
        rows_extracted=sum(load.normal.rows_extracted for load in loads),
        rows_loaded=sum(load.loaded + load.restated for load in loads),
        rows_quarantined=sum(load.normal.rows_quarantined for load in loads),
        restated=sum(load.restated for load in loads),
        files=len(files),
        complete=all(load.normal.raw.complete for load in loads),
        seconds=round(time.monotonic() - started, 3),
        errors=tuple(failures),
    )


def _load(rt: Runtime, batch: Batch, on_step: OnStep) -> LoadReceipt:
    on_step(f"extract {batch}")
    raw = extract_raw(rt, batch)
    on_step(f"normalise {batch}")
    normal = transform_normalise(rt, raw)
    on_step(f"load {batch}")
    return load_mysql(rt, normal)


def _lost(batches: Sequence[Batch], loads: Sequence[LoadReceipt], error: GaplessError) -> Iterator[Failure]:
    """A failure for every series that was not loaded because of `error`; one for the store when all were."""
    loaded = {load.batch.key for load in loads}
    lost = [batch for batch in batches if batch.key not in loaded]
    if not lost or not isinstance(error, ExchangeError):
        yield Failure("", "", "", error.kind, str(error))
    for batch in lost:
        for symbol, _ in batch.symbols:
            for interval in batch.intervals:
                if interval.completing(batch.window):
                    yield Failure(symbol, interval, str(batch.window), error.kind, str(error))
