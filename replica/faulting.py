"""What a fault does to an answer: pure functions from an answer to a worse one."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

from replica.answer import Answer, rows_body
from replica.bars import FIELDS
from replica.fault_schema import Action, Change, Error, Html, Reset, Restated, Status, at_ms
from replica.faults import FaultScript, Occasion
from replica.limits import Limiter
from replica.refusal import error_body

_HALF = 0.5
LONGEST_HANG_S = 600.0
_MICROS_DIGITS = 16
_PAGES = {
    403: "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>",
    451: "<html><body><h1>451</h1><p>Service unavailable from a restricted location.</p></body></html>",
    502: "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
    503: "Service Unavailable.",
}
PAGE = "<!DOCTYPE html>\n<html><head><title>Binance</title></head><body><h1>System upgrade</h1></body></html>"


def spoil(answer: Answer, occasion: Occasion, address: str, faults: FaultScript, limiter: Limiter) -> Answer:
    """The answer after all rules that meet the request; each effect is counted with its rule."""
    ended = False
    for number, action in faults.meeting(occasion):
        if ended:
            continue
        changed, ended = _act(answer, action, number, occasion, address, faults, limiter)
        if changed is not None:
            faults.applied(number)
            answer = changed
    return answer


def _act(
    answer: Answer,
    action: Action,
    number: int,
    occasion: Occasion,
    address: str,
    faults: FaultScript,
    limiter: Limiter,
) -> tuple[Answer | None, bool]:
    """The changed answer, None when there was nothing to change, and whether the matter is ended."""
    if action.status is not None:
        status = Status(action.status) if isinstance(action.status, int) else action.status
        return _status(answer, status, occasion, address, limiter), True
    if action.error is not None:
        error = Error(action.error) if isinstance(action.error, int) else action.error
        return answer.replaced(error.status, error_body(error.code, error.msg)), True
    if action.html:
        page = action.html if isinstance(action.html, Html) else Html()
        return answer.replaced(page.status, PAGE.encode(), "text/html"), True
    if action.hang:
        answer.hang_s = LONGEST_HANG_S if action.hang is True else float(action.hang)
        return answer, True
    if action.reset:
        reset = action.reset if isinstance(action.reset, Reset) else Reset()
        answer.reset_after = int(len(answer.body) * reset.after)
        return answer, True
    return _shape(answer, action, number, occasion, faults), False


def _shape(answer: Answer, action: Action, number: int, occasion: Occasion, faults: FaultScript) -> Answer | None:
    """The answer shaped, None when there was nothing to change."""
    if action.delay_ms is not None:
        answer.delay_ms += action.delay_ms
        return answer
    if action.half_json or action.truncated:
        answer.body = half(answer.body, action)
        return answer
    if action.slow_bytes_per_s is not None:
        answer.bytes_per_s = action.slow_bytes_per_s
        return answer
    if action.clock_skew_ms is not None:
        return _skewed(answer, action.clock_skew_ms)
    if not answer.rows:
        return None
    rows = _rows(answer.rows, action, number, occasion, faults)
    if rows is None:
        return None
    answer.rows = rows
    answer.body = rows_body(rows)
    return answer


def half(body: bytes, action: Action) -> bytes:
    """The body cut as `half_json` or `truncated` says."""
    cut = action.half_json or action.truncated
    return body[: int(len(body) * (_HALF if cut is True else cut or 0))]


def _rows(rows: list[str], action: Action, number: int, occasion: Occasion, faults: FaultScript) -> list[str] | None:
    if action.drop_rows is not None:
        chosen = _indices(action.drop_rows, len(rows))
        return [row for at, row in enumerate(rows) if at not in chosen] if chosen else None
    if action.duplicate_rows is not None:
        chosen = _indices(action.duplicate_rows, len(rows))
        return [row for at, row in enumerate(rows) for _ in range(2 if at in chosen else 1)] if chosen else None
    if action.shuffle_rows:
        mixed = list(rows)
        random.Random(faults.draw(number)).shuffle(mixed)  # noqa: S311 - a seeded disorder, no secret
        return mixed
    if action.alter is not None:
        changes = action.alter if isinstance(action.alter, list) else [action.alter]
        altered = list(rows)
        touched = [_alter(altered, change) for change in changes]
        return altered if any(touched) else None
    restated = action.restated
    return None if restated is None else _restated(rows, restated, number, occasion, faults)


def _status(answer: Answer, status: Status, occasion: Occasion, address: str, limiter: Limiter) -> Answer:
    code = status.code
    if code == 418:
        verdict = limiter.ban(address, status.ban_s, occasion.now_ms)
        spoilt = answer.replaced(code, error_body(-1003, verdict.message))
        usual = verdict.retry_after_s
    elif code == 429:
        spoilt = answer.replaced(code, error_body(-1003, limiter.too_much))
        usual = -(-(60_000 - occasion.now_ms % 60_000) // 1000) if limiter.rules.retry_after else None
    elif code == 408:
        return answer.replaced(code, error_body(-1007, "Timeout waiting for response from backend server."))
    else:
        page = _PAGES.get(code, f"<html><body><h1>{code}</h1></body></html>")
        return answer.replaced(code, page.encode(), "text/html")
    seconds = usual if status.retry_after is True else None if status.retry_after is False else status.retry_after
    if seconds is not None:
        spoilt.headers["Retry-After"] = str(seconds)
    return spoilt


def _skewed(answer: Answer, skew_ms: int) -> Answer | None:
    """The server's time moved, where the answer tells it (time, exchangeInfo)."""
    if answer.rows is not None or b'"serverTime":' not in answer.body:
        return None
    head, mark, tail = answer.body.partition(b'"serverTime":')
    digits = len(tail) - len(tail.lstrip(b"0123456789"))
    unit = 1000 if digits >= _MICROS_DIGITS else 1
    answer.body = head + mark + str(int(tail[:digits]) + skew_ms * unit).encode() + tail[digits:]
    return answer


def _indices(wanted: int | list[int], count: int) -> set[int]:
    listed = wanted if isinstance(wanted, list) else [wanted]
    return {at % count for at in listed if -count <= at < count}


def _open_ms(row: str) -> int:
    """The open time in milliseconds, of other series their own; a row that an earlier rule spoilt there is none's."""
    if row.startswith("{"):
        values = json.loads(row)
        time = values.get("fundingTime", values.get("timestamp"))
        return time if isinstance(time, int) else -1
    text = row[1:].partition(",")[0].strip('"]')
    if not text.isdecimal():
        return -1
    return int(text) // 1000 if len(text) >= _MICROS_DIGITS else int(text)


def _chosen(rows: list[str], row: int | str) -> list[int]:
    if row == "all":
        return list(range(len(rows)))
    if isinstance(row, int):
        return list(_indices(row, len(rows)))
    wanted = at_ms(row)
    return [at for at, text in enumerate(rows) if _open_ms(text) == wanted]


def _alter(rows: list[str], change: Change) -> bool:
    chosen = _chosen(rows, change.row)
    for at in chosen:
        rows[at] = _text(_changed(json.loads(rows[at]), change))
    return bool(chosen)


def _changed(values: Any, change: Change) -> Any:
    """A row with a change in it: bars are lists, other series objects."""
    named = isinstance(values, dict)
    if change.field is None:
        if named:
            values["extra"] = change.append
        else:
            values.append(change.append)
        return values
    if (change.field not in values) if named else (change.field not in FIELDS):
        return values
    place = change.field if named else FIELDS.index(change.field)
    if change.remove:
        del values[place]
    elif isinstance(change.add, int | float):
        values[place] = _added(values[place], change.add)
    else:
        values[place] = change.value
    return values


def _added(value: Any, number: int | float) -> Any:
    if isinstance(value, str):
        total = Decimal(value) + Decimal(str(number))
        return f"{total:f}"
    return value + number


def _restated(
    rows: list[str], restated: Restated, number: int, occasion: Occasion, faults: FaultScript
) -> list[str] | None:
    wanted = at_ms(restated.open_time)
    found = [at for at, row in enumerate(rows) if _open_ms(row) == wanted]
    if not found or faults.read(number, occasion.market, occasion.symbol, occasion.interval) < restated.after:
        return None
    changed = list(rows)
    for at in found:
        values = json.loads(changed[at])
        values[FIELDS.index(restated.field)] = restated.value
        changed[at] = _text(values)
    return changed


def _text(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
