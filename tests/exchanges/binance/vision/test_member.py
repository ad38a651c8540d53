"""A ZIP gives the one file it must hold, whole, or says what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision import member
from gapless.exchanges.binance.vision.member import BrokenFile, read_member
from gapless.exchanges.binance.vision.objects import parse_path
from tests.exchanges.binance.vision.files import DAY, line, zipped

TEXT = "\n".join(line(hour) for hour in range(24)).encode()
GOOD = zipped(TEXT)


def several(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the same name twice
        for name in names:
            archive.writestr(name, TEXT)
    return file.getvalue()


def patched(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    """Bytes at offsets into the central directory entry replaced."""
    at = data.index(b"PK\x01\x02")
    for offset, new in changes:
        data = data[: at + offset] + new + data[at + offset + len(new) :]
    return data


def flipped(at: int) -> bytes:
    return GOOD[:at] + bytes([GOOD[at] ^ 0xFF]) + GOOD[at + 1 :]


@pytest.mark.parametrize("stored", [False, True])
def test_the_file_comes_out_as_it_went_in(stored: bool) -> None:
    assert read_member(zipped(TEXT, stored=stored), DAY) == TEXT
    assert read_member(zipped(b"", stored=stored), DAY) == b""


def test_recorded_zips_open_and_match_their_checksums(recordings: Path) -> None:
    root = recordings / "vision_zip"
    files = [path for path in root.rglob("*.zip") if "cm" not in path.parts]
    for path in files:
        obj = parse_path(f"data/{path.relative_to(root)}")
        assert obj is not None
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            assert read_member(data, obj) == archive.read(obj.member)
        assert hashlib.sha256(data).hexdigest() in path.with_name(f"{path.name}.CHECKSUM").read_text()
    assert len(files) == 4


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"", "empty", "the file is empty"),
        (b"<html><body>Just a moment</body></html>", "html", "a web page"),
        (b"\xef\xbb\xbf\n <!doctype html>", "html", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "html", "XML"),
        (b"0123456789", "zip", "not a readable ZIP"),
        (TEXT, "zip", "not a readable ZIP"),
        (GOOD[: len(GOOD) // 2], "zip", "not a readable ZIP"),
        (GOOD[len(GOOD) // 2 :], "zip", "not a readable ZIP|cut"),
        (several(), "zip", "it holds nothing where BTCUSDT-1h-2024-09-01.csv alone belongs"),
        (several(DAY.member, "readme.txt"), "zip", "it holds BTCUSDT-1h-2024-09-01.csv, readme.txt"),
        (several(DAY.member, DAY.member), "zip", "alone belongs"),
        (several("a", "b", "c", "d"), "zip", r"it holds a, b, c \.\.\. where"),
        (zipped(TEXT, member="BTCUSDT-1h-2024-09-02.csv"), "zip", "it holds BTCUSDT-1h-2024-09-02.csv where"),
        (zipped(TEXT, member="../" + DAY.member), "zip", "alone belongs"),
        (patched(GOOD, (8, b"\x01\x00")), "zip", "encrypted"),
        (patched(GOOD, (10, b"\x0c\x00")), "zip", "compression method 12"),
        (patched(GOOD, (16, b"\0\0\0\0")), "zip", "does not match its CRC"),
        (patched(GOOD, (24, struct.pack("<I", len(TEXT) - 1))), "zip", f"not the {len(TEXT) - 1} bytes it claims"),
        (patched(GOOD, (24, struct.pack("<I", len(TEXT) + 1))), "zip", f"not the {len(TEXT) + 1} bytes it claims"),
        (patched(GOOD, (24, struct.pack("<I", 0xFFFFFFFE))), "zip", "claims 4294967294 bytes"),
        (patched(GOOD, (20, struct.pack("<I", 0x7FFFFFFF))), "zip", "cut"),
        (patched(GOOD, (42, struct.pack("<I", 7))), "zip", "cut|not a readable ZIP"),
        (flipped(len(DAY.member) + 40), "zip", "inflate|claims|CRC"),
    ],
)
def test_what_is_broken_is_named_with_the_object_and_the_way_out(data: bytes, reason: str, says: str) -> None:
    with pytest.raises(BrokenFile, match=says) as caught:
        read_member(data, DAY)
    assert caught.value.reason == reason
    assert DAY.path in str(caught.value)
    assert "another source" in str(caught.value)
    assert isinstance(caught.value, ExchangeError)
    assert caught.value.kind == "broken_file"


def test_a_bomb_is_not_inflated_beyond_its_claim() -> None:
    """A stream of 32 MiB that claims 100 bytes costs 101 bytes."""
    deflated = zlib.compress(bytes(32 << 20), 9, wbits=-15)
    good = zipped(bytes(100))
    name = DAY.member.encode()
    local = good[: good.index(name) + len(name)]
    central = good[good.index(b"PK\x01\x02") : good.index(b"PK\x05\x06")]
    end = good[good.index(b"PK\x05\x06") :]
    central = central[:20] + struct.pack("<I", len(deflated)) + central[24:]
    end = end[:16] + struct.pack("<I", len(local) + len(deflated)) + end[20:]
    with pytest.raises(BrokenFile, match="not the 100 bytes it claims"):
        read_member(local + deflated + central + end, DAY)


def test_a_file_larger_than_any_is_refused_by_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "MAX_MEMBER_BYTES", len(TEXT) - 1)
    with pytest.raises(BrokenFile, match=f"claims {len(TEXT)} bytes"):
        read_member(GOOD, DAY)


_AT = st.integers(0)
_DAMAGE: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.builds(lambda at, x: lambda d: d[: at % len(d)] + bytes([x]) + d[at % len(d) + 1 :], _AT, st.integers(0, 255)),
    st.builds(lambda at: lambda d: d[: at % len(d)], _AT),
    st.builds(lambda at, n: lambda d: d[: at % len(d)] + d[at % len(d) + n :], _AT, st.integers(1, 40)),
    st.builds(lambda at, x: lambda d: d[: at % len(d)] + x + d[at % len(d) :], _AT, st.binary(min_size=1, max_size=9)),
)


@settings(max_examples=400)
@given(_DAMAGE)
def test_damage_is_found_or_harmless_and_never_anything_else(damage: Callable[[bytes], bytes]) -> None:
    try:
        text = read_member(damage(GOOD), DAY)
    except BrokenFile:
        return
    assert text == TEXT
