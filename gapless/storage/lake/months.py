"""Writing a cold month: symbol after symbol into a spool, then each object once, verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES
from gapless.domain.window import iso, parse_time
from gapless.errors import ConfigError, StorageError, ValidationError
from gapless.storage.lake import layout
from gapless.storage.lake.forms import Forms
from gapless.storage.lake.layout import Form, LakeObject, Month
from gapless.storage.lake.merge import in_order, times
from gapless.storage.lake.parquet import narrowed, row_groups_of
from gapless.storage.lake.rewriting import SPOOL_SUFFIX, Change, Finished, ObjectReceipt, OnPairs, Rewriter
from gapless.storage.lake.temporary import sweep, temporary_file
from gapless.storage.lake.writing import Contents, ObjectWriter


class MonthWriter:
    """A month, or one symbol bucket of it, on its way into the lake. Made by `BarLake.month_writer`.

        with lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, month_ms, 7, spool_dir=spool) as writer:
            for symbol in symbols:                       # of bucket 7, in UTF-8 order
                writer.add(bars_of(symbol))
            receipts = writer.finish()

    Left without `finish`, it leaves nothing behind; killed, a spool file, which the next writer in that folder sweeps.
    Not for two threads at once; other writers may work beside it. `add` encodes and digests, mostly without the
    interpreter's lock.
    """

    def __init__(
        self,
        month: Month,
        bucket: int | None,
        *,
        forms: Forms,
        rewriter: Rewriter,
        spool_dir: Path,
        on_replaced: OnPairs | None,
        on_outranked: OnPairs | None,
    ) -> None:
        if bucket not in layout.buckets(month.dataset, month.interval):
            raise ConfigError(
                f"bucket {bucket} of {month.prefix}: {'it lies whole' if bucket is not None else 'name one'}"
            )
        self._month = month
        self._bucket = bucket
        self._shape = SHAPES[month.dataset]
        self._forms = forms
        self._rewriter = rewriter
        self._spool_dir = spool_dir
        self._told = (on_replaced, on_outranked)
        self._last: str | None = None
        self._held = ExitStack()
        self._writer: ObjectWriter | None = None
        self._contents: Contents | None = None
        self._path = spool_dir

    def __enter__(self) -> MonthWriter:
        try:
            sweep(self._spool_dir, suffix=SPOOL_SUFFIX)
            self._path, _ = self._held.enter_context(temporary_file(self._spool_dir, suffix=SPOOL_SUFFIX))
            self._writer = self._held.enter_context(ObjectWriter(str(self._path), self._shape))
        except OSError as error:
            self._held.close()
            raise self._no_spool(error) from error
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer = None
        try:
            self._held.close()
        except OSError:  # a full disk, met again while the file that is thrown away is closed
            if error is None:
                raise

    def add(self, rows: pa.Table) -> None:
        """More rows: canonical, all that there is of one symbol in this month (and bucket).

        Raises:
            ValidationError: not canonical rows, a key twice, another symbol's or month's row, or a symbol out of order.
            StorageError: the spool cannot be written.
        """
        if self._writer is None or self._contents is not None:
            raise StorageError(f"{self._month.prefix}: nothing can be added before it is entered or after finish()")
        if not rows.num_rows:
            return
        rows = in_order(self._shape, rows, side="new")
        symbol = self._symbol_of(rows)
        try:
            self._writer.write(rows)
        except OSError as error:
            raise self._no_spool(error) from error
        self._last = symbol

    def finish(self) -> list[ObjectReceipt]:
        """Merge what was added with what the lake holds: a receipt for each object it goes to; none for nothing.

        A month that lies in buckets, or not at all, takes one object; one that lies in days, one for each day. May be
        called again when it failed.

        Raises:
            LakeShrink: an object would lose rows.
            StorageError: the store did not do it, or gave other bytes back than were written.
        """
        if self._writer is None:
            raise StorageError(f"{self._month.prefix}: finish() without entering the writer")
        if self._last is None:
            return []
        if self._contents is None:
            try:
                self._contents = self._writer.finish()
            except OSError as error:
                raise self._no_spool(error) from error
        contents = self._contents
        form = self._forms.claim(self._month, Form.BUCKETS)
        if form is not Form.DAYS:
            target = self._month.whole() if self._bucket is None else self._month.bucket(self._bucket)
            return [self._rewrite(target, Finished(self._path, contents))]
        days = sorted({one.day for one in contents.series})
        return [self._rewrite(self._month.day(parse_time(day)), None) for day in days]

    def _rewrite(self, target: LakeObject, finished: Finished | None) -> ObjectReceipt:
        on_replaced, on_outranked = self._told
        new = Change(
            new=lambda: self._spooled(target),
            finished=finished,
            on_replaced=on_replaced,
            on_outranked=on_outranked,
            growing=True,
        )
        return self._rewriter.rewrite(target, new)

    def _spooled(self, target: LakeObject) -> Iterator[pa.Table]:
        """The spool's rows that belong to an object, in order."""
        with self._path.open("rb") as stream:
            for rows in row_groups_of(stream, self._shape, name=str(self._path), window=target.window):
                yield narrowed(rows, None, target.window)

    def _symbol_of(self, rows: pa.Table) -> str:
        """The one symbol of these rows, which belong here and come in their turn."""
        month, what = self._month, f"{self._month.prefix}: rows"
        wanted: dict[str, str] = {"exchange": month.exchange}
        if month.interval is not None:
            wanted["interval"] = str(month.interval)
        for name, value in wanted.items():
            if not pc.all(pc.equal(rows[name], value)).as_py():
                raise ValidationError(f"{what} of another {name} than {value}: {_first(rows, name, value)}")
        symbol = str(rows["symbol"][0].as_py())
        if not pc.all(pc.equal(rows["symbol"], symbol)).as_py():
            raise ValidationError(f"{what} of several symbols at once, {symbol} and others: add one after the other")
        if self._last is not None and symbol <= self._last:
            raise ValidationError(f"{what} of {symbol} after those of {self._last}: add symbols once, in UTF-8 order")
        if self._bucket is not None and layout.bucket_of(symbol) != self._bucket:
            raise ValidationError(
                f"{what} of {symbol} belong to bucket {layout.bucket_of(symbol)}, not to {self._bucket}"
            )
        ts = times(rows)
        first, last = int(ts.min()), int(ts.max())
        if first not in month.window or last not in month.window:
            raise ValidationError(f"{what} of {symbol} from {iso(first)} to {iso(last)}: another month")
        return symbol

    def _no_spool(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write the spool of {self._month.prefix} in {self._spool_dir}: {error.strerror or error}; make "
            "room there, or make it writable, and run this again"
        )


def _first(rows: pa.Table, name: str, value: str) -> str:
    return str(next(found for found in rows[name].unique().to_pylist() if found != value))
