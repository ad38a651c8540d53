from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.storage.live.flight import Batch, Flight
from gapless.storage.live.resp import Target, pack_entry

NS = 1_763_654_400_000_000_000
KEEP_NS = 8_000
KEEP_BYTES = 8_000


class Sent:
    """Batches of entries of three Streams, each entry the next number of its Stream."""

    def __init__(self) -> None:
        self.targets = {target.key: target for target in (Target("a"), Target("b"), Target("c"))}
        self.flight = Flight(KEEP_NS, KEEP_BYTES, self.targets)
        self.taken: list[tuple[Target, bytes]] = []

    def send(self, which: list[int], now_ns: int) -> None:
        parts = []
        for index in which:
            target = list(self.targets.values())[index]
            identity = b"%d" % (int(target.newest or b"0") + 1)
            target.newest = identity
            self.taken.append((target, identity))
            parts.append(pack_entry(target, 1, NS, identity, b"{}"))
        data = b"".join(parts)
        batch = Batch(data, len(which), len(data), now_ns)
        self.flight.made(batch)
        self.flight.add(batch)


steps = st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(0, 3000)), max_size=40)


@given(steps, st.integers(0, 5))
def test_what_is_remembered_is_all_since_the_last_entry_of_each_stream_that_is_known(
    steps: list[tuple[list[int], int]], behind: int
) -> None:
    sent, now_ns = Sent(), 1
    waiting: list[tuple[int, int]] = []
    settled: list[tuple[int, int]] = []
    for which, pause_ns in steps:
        now_ns += pause_ns
        sent.send(which, now_ns)
        waiting.append((len(which), now_ns))
        if len(waiting) > behind:
            count, _ = waiting.pop(0)
            assert sent.flight.settle(count, now_ns)
            settled.append((count, now_ns))
    recent = [(command.target, command.identity) for command in sent.flight.recent()]
    total = sum(count for count, _ in settled)
    assert recent == sent.taken[:total][total - len(recent) :]
    forgotten = dict(sent.taken[: total - len(recent)])
    for target in sent.targets.values():
        assert target.last == forgotten.get(target, b"")
    young = sum(count for count, at_ns in settled if at_ns >= now_ns - KEEP_NS)
    assert len(recent) >= young or sent.flight.recent_bytes <= KEEP_BYTES
    assert sent.flight.recent_bytes <= KEEP_BYTES + KEEP_BYTES // 8 + 9 * 200 * (behind + 1)


def test_after_a_cut_in_the_middle_of_a_batch_the_rest_of_it_is_in_doubt() -> None:
    sent = Sent()
    sent.send([0, 1, 0, 2], 5)
    sent.send([2], 6)
    assert sent.flight.settle(2, 7)
    doubtful = sent.flight.ground()
    assert [(c.target, c.identity) for c in doubtful] == sent.taken[2:]
    assert [(c.target, c.identity) for c in sent.flight.recent()] == sent.taken[:2]
    assert sent.flight.cost == 0
    assert not sent.flight


def test_what_was_refused_is_not_remembered_as_taken() -> None:
    sent = Sent()
    sent.send([0, 1, 0], 5)
    (refused,) = sent.flight.settle_each(3, [(1, "WRONGTYPE no Stream")], 6)
    assert (refused[0].target.key, refused[0].identity) == (b"b", b"1")
    assert [c.target.key for c in sent.flight.recent()] == [b"a", b"a"]
    assert sent.targets[b"b"].newest == b""


def test_after_a_start_of_redis_what_its_tails_end_in_is_what_is_known() -> None:
    sent = Sent()
    sent.send([0, 0, 1], 5)
    assert sent.flight.settle(3, 6)
    a, b, c = sent.targets.values()
    sent.flight.forget_recent({a: [b"0", b"1"], b: []})
    assert sent.flight.recent() == []
    assert (a.last, b.last, c.last) == (b"1", b"", b"")
