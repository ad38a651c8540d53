"""What a fault does to an archive file: pure functions from a file to a worse one.

What is random is drawn from the rule and the file, so that a file is broken in the same way for every reader.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gapless.domain.window import DAY_MS, parse_time
from replica.bars import FIELDS
from replica.fault_schema import Action, Change, Corrupt, Replaced, at_ms
from replica.vision.objects import KLINES, ArchiveFile
from replica.vision.store import header_of
from replica.vision.zipped import Zipped, checksum_text, etag, read_csv, sealed, zip_csv

_MICROS_DIGITS = 16
_LOCAL_HEADER = 30
_ONE_MORE = {KLINES: "trades", "fundingRate": "last_funding_rate", "metrics": "sum_open_interest"}

Row = list[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule's action on a file, with the number that its randomness is drawn from."""

    number: int
    action: Action
    draw: int


@dataclass(slots=True)
class _Sheet:
    """A file's text: its header (None for none) and its rows."""

    header: Row | None
    rows: list[Row]


def spoilt(file: ArchiveFile, sound: Zipped, faults: tuple[Fault, ...]) -> tuple[Zipped, frozenset[int]]:
    """The file after its faults in order, and the numbers of those that changed something."""
    zipped, effective = sound, set()
    for fault in faults:
        worse = _worse(file, zipped, fault)
        if worse != zipped:
            effective.add(fault.number)
        zipped = worse
    return zipped, frozenset(effective)


def _worse(file: ArchiveFile, zipped: Zipped, fault: Fault) -> Zipped:
    action, name = fault.action, f"{file.stem}.zip"
    if action.missing:
        return replace(zipped, told=None) if action.missing == "checksum" else zipped
    if action.wrong_checksum:
        if isinstance(action.wrong_checksum, str):
            return replace(zipped, told=action.wrong_checksum.encode())
        return replace(zipped, told=checksum_text(hashlib.sha256(zipped.data + b"?").hexdigest(), name))
    if action.corrupt:
        corrupt = action.corrupt if isinstance(action.corrupt, Corrupt) else Corrupt()
        data = _flipped(zipped.data, corrupt.bytes, fault.draw)
        worse = sealed(name, data)
        return worse if corrupt.checksum == "right" else Zipped(data, worse.sha256, etag(data), zipped.told)
    sheet = _read(zipped.data)
    before = _text(sheet)
    _SHAPES[action.name](file, sheet, fault)
    after = _text(sheet)
    return zipped if after == before else sealed(name, zip_csv(file.stem, after))


def _flipped(data: bytes, count: int, draw: int) -> bytes:
    """Some bytes of the compressed data changed: the ZIP still opens, its member does not unpack or fails its CRC."""
    start, end = _LOCAL_HEADER, data.rindex(b"PK\x01\x02")
    start = min(end - 1, start + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little"))
    flipped = bytearray(data)
    chance = random.Random(draw)  # noqa: S311 - a seeded fault, no secret
    middle = range(start + (end - start) // 4, max(start + (end - start) // 4 + 1, end - (end - start) // 4))
    for at in chance.sample(middle, min(count, len(middle))):
        flipped[at] ^= chance.randrange(1, 256)
    return bytes(flipped)


def _read(data: bytes) -> _Sheet:
    rows = [line.split(",") for line in read_csv(data).decode().splitlines()]
    headed = bool(rows) and rows[0][0][:1].isalpha()
    return _Sheet(rows[0], rows[1:]) if headed else _Sheet(None, rows)


def _text(sheet: _Sheet) -> bytes:
    rows = sheet.rows if sheet.header is None else [sheet.header, *sheet.rows]
    return "".join(f"{','.join(row)}\n" for row in rows).encode()


def _drop(_: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    chosen = _indices(fault.action.drop_rows, len(sheet.rows))
    sheet.rows = [row for at, row in enumerate(sheet.rows) if at not in chosen]


def _drop_days(_: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    days = {parse_time(day) // DAY_MS for day in _listed(fault.action.drop_days)}
    sheet.rows = [row for row in sheet.rows if _row_ms(row) // DAY_MS not in days]


def _duplicate(_: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    chosen = _indices(fault.action.duplicate_rows, len(sheet.rows))
    sheet.rows = [row for at, row in enumerate(sheet.rows) for _ in range(2 if at in chosen else 1)]


def _shuffle(_: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    random.Random(fault.draw).shuffle(sheet.rows)  # noqa: S311 - a seeded disorder, no secret


def _header(file: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    sheet.header = header_of(file).split(",") if fault.action.header == "on" else None


def _unit(file: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    if file.kind != KLINES:
        return
    micros = fault.action.unit == "us"
    for row in sheet.rows:
        if (len(row[0]) >= _MICROS_DIGITS) != micros:
            row[0] = f"{row[0]}000" if micros else row[0][:-3]
            row[6] = f"{row[6]}999" if micros else row[6][:-3]


def _alter(file: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    for change in _listed(fault.action.alter):
        _change(file, sheet, change)


def _replace(file: ArchiveFile, sheet: _Sheet, fault: Fault) -> None:
    replaced = fault.action.replaced
    alter = replaced.alter if isinstance(replaced, Replaced) else None
    for change in _listed(alter or Change(field=_ONE_MORE[file.kind], add=1)):
        _change(file, sheet, change)


_SHAPES: dict[str, Callable[[ArchiveFile, _Sheet, Fault], None]] = {
    "drop_rows": _drop,
    "drop_days": _drop_days,
    "duplicate_rows": _duplicate,
    "shuffle_rows": _shuffle,
    "header": _header,
    "unit": _unit,
    "alter": _alter,
    "replaced": _replace,
}


def _change(file: ArchiveFile, sheet: _Sheet, change: Change) -> None:
    names = FIELDS if file.kind == KLINES else tuple(header_of(file).split(","))
    if change.field is not None and change.field not in names:
        return
    chosen = [sheet.rows[at] for at in _chosen(sheet.rows, change.row)]
    for row in chosen:
        if change.field is None:
            row.append(_cell(change.append))
        elif change.remove:
            del row[names.index(change.field)]
        elif isinstance(change.add, int | float):
            place = names.index(change.field)
            row[place] = f"{Decimal(row[place]) + Decimal(str(change.add)):f}"
        else:
            row[names.index(change.field)] = _cell(change.value)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _row_ms(row: Row) -> int:
    """When a row is, by its first place: milliseconds, microseconds, or a time as text; -1 for none of these."""
    text = row[0]
    if text.isdecimal():
        return int(text) // 1000 if len(text) >= _MICROS_DIGITS else int(text)
    return parse_time(text.replace(" ", "T")) if text[:4].isdecimal() else -1


def _chosen(rows: list[Row], row: int | str) -> list[int]:
    if row == "all":
        return list(range(len(rows)))
    if isinstance(row, int):
        return sorted(_indices(row, len(rows)))
    wanted = at_ms(row)
    return [at for at, values in enumerate(rows) if _row_ms(values) == wanted]


def _indices(wanted: int | list[int] | None, count: int) -> set[int]:
    return {at % count for at in _listed(wanted) if -count <= at < count}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
