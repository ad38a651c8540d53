from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.storage.live.packing import Packer
from gapless.storage.live.resp import LARGEST_EVENT_MS, Command, Target, pack, pack_entry, unpack

NS = 1_763_654_400_000_000_000
TARGETS = [Target(f"md.trades.binance.{symbol}") for symbol in ("A/USDT", "Ä:1\r\n$1\r\n", "B")]
KNOWN = {target.key: target for target in TARGETS}

texts = st.binary(min_size=1, max_size=30) | st.sampled_from(
    [b"1", b"\r\n", b"$3\r\nabc\r\n", b"*11\r\n$4\r\nXADD\r\n"]
)
entries = st.tuples(
    st.sampled_from(TARGETS), st.integers(0, LARGEST_EVENT_MS), st.integers(NS, NS + 3), texts, texts | st.just(b"")
)
others = st.lists(texts, min_size=1, max_size=4).map(lambda words: pack(b"SET", *words))


def packer_of(told: list[str]) -> Packer:
    return Packer(lambda: told.append("first"), lambda: told.append("full"))


@given(st.lists(entries | others, max_size=30))
def test_what_was_packed_is_told_apart_again(given_: list[tuple[Target, int, int, bytes, bytes] | bytes]) -> None:
    packer, expected = packer_of([]), []
    for each in given_:
        if isinstance(each, bytes):
            packer.add(each)
            expected.append((b"", each))
        else:
            packer.put(*each)
            expected.append((each[3], pack_entry(*each)))
            assert each[0].newest == each[3]
    assert (len(packer), packer.size) == (len(given_), sum(len(packed) for _, packed in expected))
    data, count = packer.take()
    assert (count, len(packer), packer.size) == (len(given_), 0, 0)
    found = unpack(data, KNOWN)
    assert [(command.identity, command.packed) for command in found] == expected
    assert [c.target for c in found if c.identity] == [each[0] for each in given_ if not isinstance(each, bytes)]


def test_the_first_command_is_told_once_and_a_full_batch_each_time() -> None:
    told: list[str] = []
    packer = packer_of(told)
    packer.aim(10)
    for _ in range(9):
        packer.put(TARGETS[0], 1, NS, b"1", b"{}")
    assert told == ["first"]
    packer.add(pack(b"PING"))
    packer.put(TARGETS[0], 1, NS, b"1", b"{}")
    assert told == ["first", "full", "full"]
    packer.take()
    packer.add(pack(b"PING"))
    assert told[3:] == ["first"]


def test_entries_that_cannot_go_straight_go_elsewhere() -> None:
    aside: list[tuple[Target, int, int, bytes, bytes]] = []
    packer = packer_of([])
    packer.put(TARGETS[0], LARGEST_EVENT_MS + 1, NS, b"1", b"{}")
    assert packer.take()[0] == pack_entry(TARGETS[0], LARGEST_EVENT_MS, NS, b"1", b"{}")
    packer.otherwise = lambda *entry: aside.append(entry)
    packer.put(TARGETS[0], LARGEST_EVENT_MS + 1, NS, b"2", b"{}")
    packer.straight = False
    packer.put(TARGETS[0], 1, NS, b"3", b"{}")
    assert [entry[3] for entry in aside] == [b"2", b"3"]
    assert not len(packer)


def test_a_command_to_an_unknown_key_has_a_target_that_stands_for_it() -> None:
    (command,) = unpack(pack_entry(Target("md.x"), 1, NS, b"7", b"{}"), {})
    assert isinstance(command, Command)
    assert (command.target.key, command.identity) == (b"md.x", b"7")
