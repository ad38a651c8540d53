"""Subscriptions by messages: what is to be asked, at which pace, what was answered. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gapless.exchanges.binance.streams.control import Answer, Method, request

_ASKED_AT_MOST = 2


@dataclass(slots=True)
class Asked:
    """A request on its way.

    Attributes:
        tries: how often it was sent, this time included.
    """

    method: Method
    names: tuple[str, ...]
    sent_s: float
    tries: int


class Subscribing:
    """The requests of one connection, in order: one that was put in later is sent later.

    Args:
        a_second: messages a second. names_a_request: names in one. ack_s: how long an answer may take.
    """

    def __init__(self, *, a_second: float, names_a_request: int, ack_s: float) -> None:
        self._apart_s = 1.0 / a_second
        self._most = names_a_request
        self._ack_s = ack_s
        self._waiting: deque[tuple[Method, tuple[str, ...], int]] = deque()
        self._asked: dict[int, Asked] = {}
        self._next_id = 1
        self._free_s = 0.0

    def ask(self, method: Method, names: Iterable[str]) -> None:
        """Puts a request in line; its names in groups of what one may hold."""
        all_names = tuple(names)
        for start in range(0, len(all_names), self._most):
            self._waiting.append((method, all_names[start : start + self._most], 1))

    def spent(self, now_s: float) -> None:
        """Another message was sent (a ping): it counts."""
        self._free_s = max(self._free_s, now_s) + self._apart_s

    def due(self, now_s: float) -> str | None:
        """The text to be sent now, if one may be."""
        if not self._waiting or now_s < self._free_s:
            return None
        method, names, tries = self._waiting.popleft()
        number = self._next_id
        self._next_id += 1
        self._asked[number] = Asked(method, names, now_s, tries)
        self._free_s = now_s + self._apart_s
        return request(method, number, names)

    def wait_s(self, now_s: float) -> float | None:
        """Until when there is nothing to do unless an answer comes; None: until something is put in."""
        moments = [asked.sent_s + self._ack_s for asked in self._asked.values()]
        if self._waiting:
            moments.append(self._free_s)
        return max(0.0, min(moments) - now_s) if moments else None

    def answered(self, answer: Answer) -> Asked | None:
        """The request that this answers; None: it is of none, or of one that was given up."""
        return self._asked.pop(answer.id, None) if answer.id is not None else None

    def overdue(self, now_s: float) -> list[Asked]:
        """Requests that had no answer in time. They are put in line again; those that were before are given back."""
        late = [number for number, asked in self._asked.items() if now_s - asked.sent_s >= self._ack_s]
        given_up = []
        for number in late:
            asked = self._asked.pop(number)
            if asked.tries >= _ASKED_AT_MOST:
                given_up.append(asked)
            else:
                self._waiting.append((asked.method, asked.names, asked.tries + 1))
        return given_up
