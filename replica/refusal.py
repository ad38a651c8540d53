"""The exchange's refusals: a code and a text, with the HTTP status they come under."""

from __future__ import annotations

import json


class Refusal(Exception):
    """What the exchange answers instead of data: `{"code": ..., "msg": ...}`.

    Attributes:
        code: the exchange's negative number.
        message: its text.
        status: the HTTP status, 400 for a wrong request.
    """

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    @property
    def body(self) -> bytes:
        """The JSON body."""
        return error_body(self.code, self.message)


def error_body(code: int, message: str) -> bytes:
    """The exchange's error body."""
    return json.dumps({"code": code, "msg": message}, ensure_ascii=False, separators=(",", ":")).encode()


def missing(name: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal_characters(name: str, legal: str) -> Refusal:
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid_value(name: str) -> Refusal:
    return Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def invalid_symbol() -> Refusal:
    return Refusal(-1121, "Invalid symbol.")


def not_replicated(what: str) -> Refusal:
    """For what the exchange has and the replica does not: no client can take it for the exchange's word."""
    return Refusal(-1, f"the replica does not serve {what}", status=501)
