"""What an answer of Binance means and what is to be done: by HTTP status and by `code` in the body, never by text.

Source: reference sections 2.2 and 2.3 (the exchange's error pages). The one text that is read is the end of a ban,
which stands nowhere else: "IP banned until <epoch ms>".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import msgspec

_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")
_RETRIED_CODES = {
    -1000: "an unknown error of the exchange",
    -1001: "an internal error of the exchange",
    -1006: "an unexpected response behind the exchange's gateway",
    -1007: "a timeout behind the exchange's gateway",
    -1008: "the exchange is overloaded",
    -1016: "the service is not available (maintenance?)",
}
_TOO_MANY = -1003
_BAD_SYMBOL = -1121


class Act(Enum):
    """What to do with an answer."""

    TAKE = "take"
    RETRY = "retry"
    LIMITED = "limited"
    BANNED = "banned"
    FIREWALL = "firewall"
    REFUSED = "refused"
    BAD_SYMBOL = "bad_symbol"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Attributes: `why`, for the message; `until_ms`, the end of a ban where the text names it."""

    act: Act
    why: str = ""
    until_ms: int | None = None


def judge(status: int, body: str, expects: Literal["array", "object"]) -> Verdict:
    """The verdict on one answer to a call whose good answers are a JSON array or object."""
    parsed = _parse(body)
    code = parsed.get("code") if isinstance(parsed, dict) else None
    code = code if isinstance(code, int) else None
    if until := _BANNED_UNTIL.search(body) if status == 418 or code == _TOO_MANY else None:
        return Verdict(Act.BANNED, "this address is banned (HTTP 418)", int(until[1]))
    if status == 418:
        return Verdict(Act.BANNED, "this address is banned (HTTP 418)")
    if status == 429 or code == _TOO_MANY:
        return Verdict(Act.LIMITED, f"too many requests (HTTP {status})")
    if status == 451:
        return Verdict(Act.REFUSED, "the exchange refuses this address's region (HTTP 451)")
    if code is not None:
        return _by_code(status, code, _excerpt(body))
    if status == 403:
        return Verdict(Act.FIREWALL, f"a firewall refused the request (HTTP 403): {_excerpt(body)}")
    if status >= 500 or status == 408:
        return Verdict(Act.RETRY, f"HTTP {status}: {_excerpt(body)}")
    if isinstance(parsed, dict) and any(key.isdigit() for key in parsed):
        return Verdict(Act.RETRY, f"maintenance: {_excerpt(body)}")
    if not 200 <= status < 300:
        return Verdict(Act.FAIL, f"HTTP {status}: {_excerpt(body)}")
    if parsed is None:
        kind = "an HTML page" if body.lstrip().startswith("<") else "a cut or broken JSON text"
        return Verdict(Act.RETRY, f"{kind} instead of an answer: {_excerpt(body)}")
    if isinstance(parsed, dict) != (expects == "object"):
        return Verdict(Act.FAIL, f"not the JSON {expects} that belongs here: {_excerpt(body)}")
    return Verdict(Act.TAKE)


def _by_code(status: int, code: int, text: str) -> Verdict:
    if code == _BAD_SYMBOL:
        return Verdict(Act.BAD_SYMBOL, text)
    if code in _RETRIED_CODES:
        return Verdict(Act.RETRY, f"{_RETRIED_CODES[code]} (code {code}, HTTP {status})")
    if status >= 500 or status == 408:
        return Verdict(Act.RETRY, f"HTTP {status}, code {code}: {text}")
    return Verdict(Act.FAIL, f"HTTP {status}, code {code}: {text}")


def _parse(body: str) -> dict[str, object] | list[msgspec.Raw] | None:
    """An object with its values, an array with its elements unread, or None for anything else."""
    try:
        if body.lstrip()[:1] == "[":
            return msgspec.json.decode(body, type=list[msgspec.Raw])
        parsed = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return None
    return {key: _number(value) for key, value in parsed.items()}


def _number(value: msgspec.Raw) -> object:
    text = bytes(value)
    return int(text) if re.fullmatch(rb"-?\d{1,9}", text) else None


def _excerpt(body: str) -> str:
    line = " ".join(body.split())
    return (line[:160] + " ...") if len(line) > 160 else line or "(an empty body)"
