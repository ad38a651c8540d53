"""Lives that nobody dated, told from the archive: a symbol that the exchange has forgotten began with its first row and
ended with its last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from gapless.domain.grid import runs
from gapless.domain.instrument import Instrument, Market
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import BadSymbol
from gapless.pipeline.backfill.accounts import Accounts, PieceAccount
from gapless.pipeline.backfill.outcome import NOBODY_HAS_IT, Hole
from gapless.pipeline.backfill.pieces import FOR_EVER_MS, Series, expected_opens
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import learn_lifetime, record_archived


def settle_lives(rt: Runtime, accounts: Accounts) -> None:
    """Enter what this run has learnt of lives, and expect in each month what the life says.

    Until now such a month was only held against its own first and last row. A symbol of which nothing at all was found
    is a failure: it is misspelt, or of the other market.
    """
    by_series: dict[Series, list[PieceAccount]] = defaultdict(list)
    for account in accounts.pieces:
        series = account.piece.series
        if not (series.first_known and series.last_known):
            by_series[series].append(account)
    named: set[str] = set()
    for series, months in by_series.items():
        months.sort(key=lambda each: each.piece.window)
        found = [each for each in months if each.first_ms is not None]
        if not found:
            if any(each.forgotten for each in months):
                accounts.failures.append(_nobody_knows(series, months))
            continue
        life = _life(series, months, found)
        if series.symbol not in named:
            named.add(series.symbol)
            record_archived(rt.db, [_instrument(series)])
            learn_lifetime(
                rt.db,
                EXCHANGE,
                series.symbol,
                listed_ms=life.start_ms if life.start_ms else None,
                delisted_ms=life.end_ms if life.end_ms < FOR_EVER_MS else None,
            )
        _expect(accounts, series, months, life)


def _life(series: Series, months: Sequence[PieceAccount], found: Sequence[PieceAccount]) -> Window:
    """From the first row to the last, where the months around show that they are the first and the last."""
    step = series.step_ms or 1
    known = series.lives[0]
    first, last = found[0], found[-1]
    start_ms, end_ms = known.start_ms, known.end_ms
    begins = first.first_ms is not None and (months[0] is not first or first.first_ms > first.piece.window.start_ms)
    ends = last.last_ms is not None and (months[-1] is not last or last.last_ms + step < last.piece.window.end_ms)
    if not series.first_known and begins and first.first_ms is not None:
        start_ms = first.first_ms
    if not series.last_known and ends and last.last_ms is not None:
        end_ms = last.last_ms + step
    return Window(start_ms, end_ms)


def _expect(accounts: Accounts, series: Series, months: Sequence[PieceAccount], life: Window) -> None:
    """Rows that the life expects at the edges of a month and that the month did not count: holes of their own."""
    step = series.step_ms
    if step is None:
        return
    dated = replace(series, lives=(life,), raw_symbols=series.raw_symbols[:1], first_known=True, last_known=True)
    for account in months:
        window = account.piece.window
        expected = expected_opens(dated, window)
        if account.first_ms is None or account.last_ms is None:
            edges = expected
        else:
            edges = expected[(expected < account.first_ms) | (expected > account.last_ms)]
        if len(edges) == 0:
            continue
        state = "unfillable" if account.forgotten else "open"
        holes = tuple(Hole(run, run.length_ms // step, state, NOBODY_HAS_IT) for run in runs(edges, step))
        accounts.amend(account, replace(
            account,
            expected=account.expected + len(edges),
            unfillable=account.unfillable + (len(edges) if account.forgotten else 0),
            holes=(*account.holes, *holes),
        ))  # fmt: skip


def _instrument(series: Series) -> Instrument:
    base, _, rest = series.symbol.partition("/")
    quote = rest.partition(":")[0]
    return Instrument(EXCHANGE, series.symbol, Market(series.market), series.raw_symbols[0], base, quote, "DELISTED")


def _nobody_knows(series: Series, months: Sequence[PieceAccount]) -> Failure:
    window = Window(months[0].piece.window.start_ms, months[-1].piece.window.end_ms)
    message = (
        f"{EXCHANGE} {series.market} {series.symbol} {window}: neither the exchange nor its archive knows it; "
        "it is misspelt, of the other market, or lived at another time"
    )
    return Failure(series.symbol, series.label, str(window), BadSymbol.kind, message)
