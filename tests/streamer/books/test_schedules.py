"""Whatever the network does to the diffs: a live book is the exchange's, and what is missing is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth
from gapless.exchanges.binance.streams.sequence import Step, sequence_of
from streamer.books.outcome import BookState, Gap, Outcome, Why
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync
from tests.streamer.books.oracle import Oracle, unread

MS = 1_000_000


class Fate(Enum):
    """What happens to a diff on one lane."""

    ARRIVES = 1
    TWICE = 2
    LATE = 3  # after the next one
    LATER = 4  # after the next four
    LOST = 5


class Do(Enum):
    """What else happens in a step."""

    NOTHING = 1
    WAIT = 2  # longer than the patience
    EXPECT = 3
    ASK = 4  # a snapshot is taken now and arrives now
    ASK_SLOWLY = 5  # taken now, arrives three steps later
    ASK_STALE = 6  # the server that answers lags by a few updates
    RECONNECT = 7
    TOP = 8


@dataclass
class Run:
    """One symbol's diffs through a bad network into a `BookSync`."""

    market: Market
    seed: int
    patience_ms: int = 250
    now_ns: int = 1
    published: list[Depth] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    late: list[tuple[int, Depth]] = field(default_factory=list)
    slow: list[tuple[int, Snapshot, int]] = field(default_factory=list)
    step: int = 0

    def __post_init__(self) -> None:
        self.oracle = Oracle(self.market, self.seed)
        self.rules = sequence_of(self.market)
        self.sync = BookSync(
            self.market, BookSettings(patience_ms=self.patience_ms, held=6, buffer_diffs=20, buffer_prices=200)
        )

    def tell(self, outcome: Outcome) -> None:
        self.published += [item.diff for item in outcome.publish]
        self.gaps += outcome.gaps
        if outcome.became is not None:
            assert outcome.became is self.sync.state
        if outcome.ask is not None:
            assert outcome.ask is not Why.DIFFERS
        self.look()

    def look(self) -> None:
        if self.sync.state is BookState.LIVE:
            assert self.sync.book is not None
            assert self.oracle.agrees(self.sync.book, self.sync.id)
            assert self.published[-1].u == self.sync.id

    def arrive(self, diff: Depth) -> None:
        if self.sync.regular(*unread(diff), self.now_ns):
            self.published.append(diff)
            self.look()
        else:
            self.tell(self.sync.take(diff, b"{}", self.now_ns, self.now_ns))

    def send(self, fates: tuple[Fate, ...], do: Do, levels: int) -> None:
        self.step += 1
        self.now_ns += 100 * MS
        diff = self.oracle.diff()
        self.act(do, levels)
        for fate in fates:
            if fate is Fate.LATE:
                self.late.append((self.step + 1, diff))
            elif fate is Fate.LATER:
                self.late.append((self.step + 4, diff))
            else:
                for _ in range({Fate.ARRIVES: 1, Fate.TWICE: 2, Fate.LOST: 0}[fate]):
                    self.arrive(diff)
        for due, late in [each for each in self.late if each[0] <= self.step]:
            self.late.remove((due, late))
            self.arrive(late)
        for each in [each for each in self.slow if each[0] <= self.step]:
            self.slow.remove(each)
            self.tell(self.sync.snapshot(each[1], each[2], self.now_ns))
        self.tell(self.sync.due(self.now_ns))

    def act(self, do: Do, levels: int) -> None:
        sync = self.sync
        match do:
            case Do.WAIT:
                self.now_ns += 1000 * MS
            case Do.EXPECT:
                sync.expecting()
            case Do.ASK:
                sync.expecting()
                self.tell(sync.snapshot(self.oracle.snapshot(levels), levels, self.now_ns))
            case Do.ASK_SLOWLY:
                sync.expecting()
                self.slow.append((self.step + 3, self.oracle.snapshot(levels), levels))
            case Do.ASK_STALE:
                self.tell(sync.snapshot(self.oracle.snapshot(levels, back=5), levels, self.now_ns))
            case Do.RECONNECT:
                self.late.clear()  # what was under way is gone with its connection
                self.tell(sync.lost(self.now_ns))
            case Do.TOP:
                *_, outcome = sync.top(5, self.now_ns)
                self.tell(outcome)

    def heal(self) -> None:
        """Nothing goes wrong any more: the book must be live within a few steps."""
        for step in range(8):
            do = Do.NOTHING if self.sync.state is BookState.LIVE or step < 5 else Do.ASK
            self.send((Fate.ARRIVES,), Do.WAIT if not step else do, 5)
        assert self.sync.state is BookState.LIVE

    def accounted(self) -> None:
        """Each published once, in order; between two that do not follow each other stands a gap that covers it."""
        gaps = list(self.gaps)
        for before, after in zip(self.published, self.published[1:], strict=False):
            span = self.rules.span(after.U, after.u, after.pu)
            assert after.u > before.u
            if self.rules.step(span, before.u) is Step.FUTURE:
                gap = gaps.pop(0)
                assert gap.first == before.u + 1
                assert gap.last == (after.U - 1 if after.pu is None else after.pu)
        assert gaps == []


fates = st.sampled_from([Fate.ARRIVES] * 8 + [Fate.TWICE, Fate.LATE, Fate.LATE, Fate.LATER, Fate.LOST])
dos = st.sampled_from([Do.NOTHING] * 10 + [each for each in Do if each is not Do.NOTHING] + [Do.ASK, Do.ASK_SLOWLY])
steps = st.lists(st.tuples(fates, fates, dos, st.sampled_from((2, 5, 50))), max_size=40)


@settings(max_examples=250, deadline=None)
@given(market=st.sampled_from(Market), seed=st.integers(0, 1 << 16), lanes=st.sampled_from((1, 2)), script=steps)
def test_every_live_book_is_the_exchanges_at_its_id_and_every_hole_is_told(
    market: Market, seed: int, lanes: int, script: list[tuple[Fate, Fate, Do, int]]
) -> None:
    run = Run(market, seed)
    for first, second, do, levels in script:
        run.send((first, second)[:lanes], do, levels)
    run.heal()
    run.accounted()


@settings(max_examples=60, deadline=None)
@given(market=st.sampled_from(Market), seed=st.integers(0, 1 << 16), script=steps)
def test_two_lanes_that_never_lose_the_same_diff_lose_nothing(
    market: Market, seed: int, script: list[tuple[Fate, Fate, Do, int]]
) -> None:
    run = Run(market, seed, patience_ms=2000)
    for index, (fate, _, do, levels) in enumerate(script):
        good = (fate, Fate.ARRIVES) if index % 2 else (Fate.ARRIVES, fate)
        run.send(good, Do.NOTHING if do in (Do.RECONNECT, Do.WAIT) else do, levels)
    assert run.gaps == []
    assert len(run.published) == len(script)
    run.accounted()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 16), script=steps)
def test_one_symbols_gap_touches_no_other(seed: int, script: list[tuple[Fate, Fate, Do, int]]) -> None:
    bad, good = Run(Market.UM, seed), Run(Market.UM, seed + 1)
    good.send((Fate.ARRIVES,), Do.NOTHING, 5)
    good.send((Fate.ARRIVES,), Do.ASK, 5)
    for first, _, do, levels in script:
        bad.send((first,), do, levels)
        good.send((Fate.ARRIVES,), Do.NOTHING, 5)
        assert good.sync.state is BookState.LIVE
    assert (good.gaps, good.sync.resyncs, good.sync.snapshots) == ([], 0, 1)
